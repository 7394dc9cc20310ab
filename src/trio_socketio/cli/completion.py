"""``trio-socketio ctl completion SHELL``: scripts that complete methods and parameters.

A script contains all names, so no program is started for a completion.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

_BASH: Final = """\
# Completes trio-socketio in bash:  source <(trio-socketio ctl completion bash)
_trio_socketio() {
    local line="${COMP_LINE:0:COMP_POINT}" word="" method="" last="" choices="" i
    local -a words
    COMPREPLY=()
    # Split at blanks alone: bash splits COMP_WORDS at = and : too.
    read -ra words <<< "$line"
    if [[ $line != *[[:space:]] ]]; then
        i=$((${#words[@]} - 1))
        word="${words[i]}"
        unset "words[i]"
    fi
    if ((${#words[@]} < 2)); then
        COMPREPLY=($(compgen -W "@commands@" -- "$word"))
        return
    fi
    [[ ${words[1]} == ctl ]] || return
    for ((i = 2; i < ${#words[@]}; i++)); do
        last="${words[i]}"
        case "$last" in
            @with_value@) ((i++)) ;;
            -*) ;;
            *) [[ -n $method ]] || method="$last" ;;
        esac
    done
    case "$last" in
        @with_value@) return ;;
    esac
    case "$method" in
        "") choices="@methods@" ;;
@parameters@
    esac
    [[ $word != -* ]] || choices="@options@"
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
    if [[ ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
}
complete -o default -F _trio_socketio trio-socketio
"""
_ZSH: Final = """\
#compdef trio-socketio
# Completes trio-socketio in zsh:  source <(trio-socketio ctl completion zsh)
_trio_socketio() {
    local -a choices
    local method='' i
    if (( CURRENT == 2 )); then
        choices=(@commands@)
        _describe command choices
        return
    fi
    if [[ $words[2] != ctl ]]; then
        _files
        return
    fi
    for (( i = 3; i < CURRENT; i++ )); do
        case $words[i] in
            (@with_value@) (( i++ )) ;;
            (-*) ;;
            (*) [[ -n $method ]] || method=$words[i] ;;
        esac
    done
    case $words[CURRENT-1] in
        (@with_value@) _files; return ;;
    esac
    if [[ $words[CURRENT] == -* ]]; then
        choices=(@options@)
        _describe option choices
        return
    fi
    case $method in
        ('')
            choices=(@methods@)
            _describe method choices
            ;;
@parameters@
    esac
}
if [[ $funcstack[1] == _trio_socketio ]]; then
    _trio_socketio "$@"
else
    compdef _trio_socketio trio-socketio
fi
"""
_FISH: Final = """\
# Completes trio-socketio in fish:  trio-socketio ctl completion fish | source
function __trio_socketio_method --argument-names wanted
    # Whether ctl is followed by this method, or by none yet.
    set -l words (commandline -opc)
    test "$words[2]" = ctl; or return 1
    set -e words[1..2]
    while set -q words[1]
        switch $words[1]
            case @with_value@
                set -e words[1]
            case '-*'
            case '*'
                test $words[1] = $wanted
                return
        end
        set -e words[1]
    end
    test $wanted = none
end
"""


class Vocabulary(NamedTuple):
    """The words that can be completed.

    Args:
        commands: of the program, with their summaries.
        options: of ctl, with what they mean.
        with_value: those of them that take a value.
        methods: of ctl, its own commands included, with their summaries.
        words: what may follow each method, such as ``event=``, with what it means.
    """

    commands: Mapping[str, str]
    options: Mapping[str, str]
    with_value: frozenset[str]
    methods: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]]


def bash(known: Vocabulary) -> str:
    """Return a script for bash."""
    parameters = "\n".join(
        f'        {name}) choices="{" ".join(words)}" ;;' for name, words in known.words.items()
    )
    return _fill(
        _BASH,
        commands=" ".join(known.commands),
        methods=" ".join(known.methods),
        options=" ".join(known.options),
        with_value="|".join(sorted(known.with_value)),
        parameters=parameters,
    )


def zsh(known: Vocabulary) -> str:
    """Return a script for zsh."""

    def described(pairs: Mapping[str, str]) -> str:
        return " ".join(
            _quote(f"{_escape_colons(name)}:{_escape_colons(text)}") for name, text in pairs.items()
        )

    parameters = "\n".join(
        f"        ({name})\n"
        f"            choices=({described(words)})\n"
        f"            _describe parameter choices -S ''\n"
        "            ;;"
        for name, words in known.words.items()
    )
    return _fill(
        _ZSH,
        commands=described(known.commands),
        methods=described(known.methods),
        options=described(known.options),
        with_value="|".join(sorted(known.with_value)),
        parameters=parameters,
    )


def fish(known: Vocabulary) -> str:
    """Return a script for fish."""
    lines = [
        _fish_line("__fish_use_subcommand", f"-f -a {name}", text)
        for name, text in known.commands.items()
    ]
    for name, text in known.options.items():
        takes = " -r" if name in known.with_value else ""
        lines.append(_fish_line("__fish_seen_subcommand_from ctl", f"-l {name[2:]}{takes}", text))
    for name, text in known.methods.items():
        lines.append(_fish_line("__trio_socketio_method none", f"-f -a {name}", text))
    for name, words in known.words.items():
        lines += [
            _fish_line(f"__trio_socketio_method {name}", f"-f -a {word}", text)
            for word, text in words.items()
        ]
    return _fill(_FISH, with_value=" ".join(sorted(known.with_value))) + "\n".join(lines) + "\n"


SHELLS: Final[dict[str, Callable[[Vocabulary], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
"""The functions that write a script, by the name of the shell."""


def _escape_colons(text: str) -> str:
    return text.replace(":", "\\:")


def _fish_line(condition: str, what: str, text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"complete -c trio-socketio -n '{condition}' {what} -d '{quoted}'"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fill(template: str, **parts: str) -> str:
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template
