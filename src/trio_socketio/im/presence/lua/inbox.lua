-- boot: what it has yet to confirm
local boot = ARGV[9]
return answer('OK', redis.call('ZRANGEBYLEX', INBOX, '[' .. boot .. '\0', '(' .. boot .. '\1', 'LIMIT', 0, 500))
