/*
 * What the machine can do at all: answers the load generator with as little work as there can be.
 *
 *   limit PORT
 *
 * One thread, one epoll; one recv for a message and one send. Messages that have arrived together are
 * read together, and what a connection is to get in one turn is sent together, since no server need
 * do worse. Nothing is validated. It knows what loadgen.c sends and no more: its one
 * Sec-WebSocket-Key, its packets as it writes them, rooms called r0, r1 and so on, one session on
 * each connection that polls. It never pings. Do not serve anyone else with it.
 *
 * Answered are connects, idle, echo, ack, binary, broadcast, rooms and polling, without TLS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SCRATCH = 1 << 20, EVENTS = 512, ROOMS = 1 << 20, BACKLOG = 4096 };

struct connection {
  int fd, place; /* place: among those that have joined, or -1 */
  bool upgraded, dirty, watches_output, ends, asks;
  uint8_t *in, *out, *held; /* held: what the next GET is answered with */
  size_t in_length, out_length, out_sent, out_size, held_length, held_size;
};

struct crowd { /* of a room, or of all */
  struct connection **members;
  int count, size;
};

static struct connection **dirty;
static int dirty_count, dirty_size, poll_fd;
static struct crowd everyone, rooms[ROOMS];
static uint8_t *scratch;

__attribute__((noreturn)) static void die(const char *what) {
  fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
  exit(2);
}

static void *grown(void *old, size_t size) {
  void *made = realloc(old, size);
  if (!made) die("out of memory");
  return made;
}

/* -- bytes out */

static void append(struct connection *c, const void *bytes, size_t length) {
  if (!c->dirty) {
    if (dirty_count == dirty_size)
      dirty = grown(dirty, (size_t)(dirty_size = 2 * dirty_size + 64) * sizeof(struct connection *));
    c->dirty = true, dirty[dirty_count++] = c;
  }
  if (c->out_length + length > c->out_size)
    c->out = grown(c->out, c->out_size = 2 * c->out_size + length + 256);
  memcpy(c->out + c->out_length, bytes, length);
  c->out_length += length;
}

static size_t put_header(uint8_t *to, int opcode, size_t length) {
  to[0] = (uint8_t)(0x80 | opcode);
  if (length < 126) {
    to[1] = (uint8_t)length;
    return 2;
  }
  if (length < 65536) {
    to[1] = 126, to[2] = (uint8_t)(length >> 8), to[3] = (uint8_t)length;
    return 4;
  }
  to[1] = 127;
  for (int i = 0; i < 8; i++) to[2 + i] = (uint8_t)((uint64_t)length >> (56 - 8 * i));
  return 10;
}

static void append_message(struct connection *c, int opcode, const void *bytes, size_t length) {
  uint8_t header[10];
  if (c->upgraded) {
    append(c, header, put_header(header, opcode, length));
    append(c, bytes, length);
    return;
  }
  if (c->held_length + length + 1 > c->held_size)
    c->held = grown(c->held, c->held_size = 2 * c->held_size + length + 256);
  if (c->held_length) c->held[c->held_length++] = 0x1e;
  memcpy(c->held + c->held_length, bytes, length);
  c->held_length += length;
}

static void append_text(struct connection *c, const char *text) {
  append_message(c, 1, text, strlen(text));
}

static void append_response(struct connection *c, const void *body, size_t length) {
  char head[128];
  int size = snprintf(head, sizeof head,
                      "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\n"
                      "Content-Length: %zu\r\n\r\n", length);
  append(c, head, (size_t)size);
  append(c, body, length);
}

static void answer_get(struct connection *c) {
  if (!c->asks || !c->held_length) return;
  append_response(c, c->held, c->held_length);
  c->held_length = 0, c->asks = false;
}

/* -- connections */

static void join(struct crowd *crowd, struct connection *c) {
  if (crowd->count == crowd->size) {
    crowd->size = 2 * crowd->size + 16;
    crowd->members = grown(crowd->members, (size_t)crowd->size * sizeof(struct connection *));
  }
  crowd->members[crowd->count++] = c;
}

static void leave_rooms(const struct connection *c) { /* clients that have joined leave only at the end */
  for (int room = 0; room < ROOMS && rooms[room].size; room++)
    for (int at = rooms[room].count - 1; at >= 0; at--)
      if (rooms[room].members[at] == c)
        rooms[room].members[at] = rooms[room].members[--rooms[room].count];
}

static void shut(struct connection *c) { /* only between turns: events of this one may name it */
  if (c->place >= 0) {
    struct connection *last = everyone.members[--everyone.count];
    everyone.members[last->place = c->place] = last;
    leave_rooms(c);
  }
  close(c->fd);
  free(c->in), free(c->out), free(c->held), free(c);
}

static void flush(struct connection *c) {
  while (c->out_sent < c->out_length) {
    ssize_t n = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) c->ends = true;
    if (n < 0) break;
    c->out_sent += (size_t)n;
  }
  bool waits = c->out_sent < c->out_length;
  if (!waits) c->out_sent = c->out_length = 0;
  if (waits == c->watches_output) return;
  struct epoll_event event = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event)) die("epoll_ctl");
  c->watches_output = waits;
}

static void end_turn(void) {
  for (int i = 0; i < dirty_count; i++) {
    dirty[i]->dirty = false;
    flush(dirty[i]);
    if (dirty[i]->ends) shut(dirty[i]);
  }
  dirty_count = 0;
}

static void mark_ended(struct connection *c) {
  c->ends = true;
  append(c, "", 0);
}

/* -- packets */

static bool starts(const uint8_t *text, size_t length, const char *with) {
  return length >= strlen(with) && !memcmp(text, with, strlen(with));
}

static struct crowd *room_of(const uint8_t *name) { /* r0 and so on, up to the quotation mark */
  long number = strtol((const char *)name + 1, NULL, 10);
  if (number < 0 || number >= ROOMS) die("too many rooms");
  return &rooms[number];
}

static void send_to(const struct crowd *crowd, const uint8_t *bytes, size_t length) {
  for (int i = 0; i < crowd->count; i++) append_message(crowd->members[i], 1, bytes, length);
}

static void on_message(struct connection *c, int opcode, uint8_t *text, size_t length) {
  static const char room[] = "42[\"room\",\"", to_join[] = "420[\"join\",\"";
  static const char to_acknowledge[] = "[\"echo_ack\",";
  if (opcode != 1 || starts(text, length, "42[\"echo\"") || starts(text, length, "451-")) {
    append_message(c, opcode, text, length);
  } else if (starts(text, length, "42[\"bcast\"")) {
    send_to(&everyone, text, length);
  } else if (starts(text, length, room)) { /* as it came, but for the name of the room */
    uint8_t *name = text + sizeof room - 2, *after = memchr(name + 1, '"', length - sizeof room);
    if (!after) die("no name of a room");
    const struct crowd *members = room_of(name + 1);
    uint8_t *event = after + 2 - (sizeof room - 2);
    memmove(event, room, sizeof room - 2);
    send_to(members, event, length - (size_t)(event - text));
  } else if (starts(text, length, to_join)) {
    join(room_of(text + sizeof to_join - 1), c);
    append_text(c, "430[]");
  } else if (length == 2 && starts(text, length, "40")) {
    if (c->upgraded) c->place = everyone.count, join(&everyone, c);
    append_text(c, "40{\"sid\":\"AAAAAAAAAAAAAAAAAAAB\"}");
  } else if (starts(text, length, "42")) {
    uint8_t *name = memmem(text, length, to_acknowledge, sizeof to_acknowledge - 1);
    if (!name) die("an event that nobody knows");
    size_t skipped = sizeof to_acknowledge - 2, id = (size_t)(name - text);
    memmove(text + skipped, text, id + 1); /* 42, the number, the bracket */
    text[skipped + 1] = '3';
    append_message(c, 1, text + skipped, length - skipped);
  }
}

/* -- bytes in */

static size_t on_frame(struct connection *c, uint8_t *p, size_t n) {
  if (n < 6) return 0;
  size_t length = p[1] & 127, header = 6;
  if (length == 126) {
    length = (size_t)p[2] << 8 | p[3], header = 8;
  } else if (length == 127) {
    if (n < 14) return 0;
    length = 0, header = 14;
    for (int i = 2; i < 10; i++) length = length << 8 | p[i];
    if (length > SCRATCH / 2) die("too large a message");
  }
  if (n < header + length) return 0;
  uint8_t *payload = p + header;
  const uint8_t *mask = payload - 4;
  uint32_t word, part;
  memcpy(&word, mask, 4);
  size_t at = 0;
  for (; at + 4 <= length; at += 4) {
    memcpy(&part, payload + at, 4);
    part ^= word;
    memcpy(payload + at, &part, 4);
  }
  for (; at < length; at++) payload[at] ^= mask[at & 3];
  int opcode = p[0] & 15;
  if (opcode == 8) {
    append_message(c, 8, payload, length);
    mark_ended(c);
  } else if (opcode < 8) {
    on_message(c, opcode, payload, length);
  }
  return header + length;
}

static size_t on_request(struct connection *c, uint8_t *p, size_t n) {
  static const char opening[] =
      "0{\"sid\":\"AAAAAAAAAAAAAAAAAAAA\",\"upgrades\":[],\"pingInterval\":25000,"
      "\"pingTimeout\":20000,\"maxPayload\":1000000}";
  static const char upgrade[] =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
  uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
  if (!end) return 0;
  size_t head = (size_t)(end + 4 - p), length = 0;
  if (memmem(p, head, "transport=websocket", 19)) {
    append(c, upgrade, sizeof upgrade - 1);
    c->upgraded = true;
    append_text(c, opening);
    return head;
  }
  if (starts(p, n, "GET ")) {
    c->asks = true;
    if (!memmem(p, head, "&sid=", 5)) append_text(c, opening);
    answer_get(c);
    return head;
  }
  const uint8_t *number = memmem(p, head, "Content-Length: ", 16);
  if (number) length = strtoul((const char *)number + 16, NULL, 10);
  if (n < head + length) return 0;
  append_response(c, "ok", 2);
  on_message(c, 1, p + head, length);
  answer_get(c);
  return head + length;
}

static void on_readable(struct connection *c) {
  size_t have = c->in_length;
  memcpy(scratch, c->in, have);
  ssize_t n = recv(c->fd, scratch + have, SCRATCH - have - 1, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    mark_ended(c);
    return;
  }
  uint8_t *p = scratch;
  have += (size_t)n;
  scratch[have] = 0; /* numbers end somewhere */
  while (have && !c->ends) {
    size_t used = c->upgraded ? on_frame(c, p, have) : on_request(c, p, have);
    if (!used) break;
    p += used, have -= used;
  }
  if (have > c->in_length) c->in = grown(c->in, have);
  memcpy(c->in, p, c->in_length = have);
}

static void accept_all(int listener) {
  int fd, one = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    struct connection *c = grown(NULL, sizeof *c);
    *c = (struct connection){.fd = fd, .place = -1};
    c->in = grown(NULL, 1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
  }
  if (errno != EAGAIN && errno != ECONNABORTED) die("accept");
}

int main(int count, char **arguments) {
  int port = count == 2 ? atoi(arguments[1]) : 0, one = 1;
  if (port < 1 || port > 65535) {
    fputs("usage: limit PORT\n", stderr);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  scratch = grown(NULL, SCRATCH);
  poll_fd = epoll_create1(EPOLL_CLOEXEC);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (poll_fd < 0 || listener < 0) die("socket");
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, BACKLOG)) die("listen");
  struct epoll_event events[EVENTS] = {{.events = EPOLLIN, .data.ptr = NULL}};
  if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, events)) die("epoll_ctl");
  for (;;) {
    int ready = epoll_wait(poll_fd, events, EVENTS, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      struct connection *c = events[i].data.ptr;
      if (!c) {
        accept_all(listener);
        continue;
      }
      if (events[i].events & EPOLLOUT) append(c, "", 0);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
    }
    end_turn();
  }
}
