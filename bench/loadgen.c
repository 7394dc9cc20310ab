/*
 * Load generator of the bench: one thread, one epoll, prebuilt masked frames, joined sends.
 *
 *   loadgen WORKLOAD --port P [options]        prints one JSON line for every value of --in-flight
 *
 *   connects   upgrade, open, namespace connect, close; --connections at a time;
 *              with --second-port, every other connection is to that port
 *   takeovers  the same, but a client stays until its user has logged in anew; needs --tokens;
 *              with --second-port, every other login of a user is to that port
 *   idle       holds --connections (a number on stdin raises that) until stdin closes
 *   echo, ack  every connection keeps K events in flight; with --window W, W in all, in rotation
 *   binary     echo with one attachment
 *   polling    POST and GET on one keep-alive connection for every echo
 *   broadcast  one sender keeps K messages in flight; every connection receives every message;
 *              with --second-port, every other connection, but not the sender, is to that port
 *   rooms      --senders keep K messages in flight, each to a random room, or --own-room;
 *              with --second-port, every other connection is to that port
 *   control    one peer of the control socket at --control keeps K calls of emit in flight, each of
 *              them to the one client that there is
 *
 * With --sids, a file with the ids of sessions that were opened elsewhere by long-polling, a client
 * takes one of them over instead of opening its own: it goes on polling, or upgrades to a WebSocket.
 *
 * Every reply is compared byte by byte with what must come, in order, exactly once. Whatever is
 * not as it should be counts as an error; the first few are told on stderr. Everything ends: a
 * phase by time and count, the wait for the last replies by --drain, the program by --limit.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

enum workload {
  CONNECTS, TAKEOVERS, IDLE, ECHO, ACK, BINARY, POLLING, BROADCAST, ROOMS, CONTROL, WORKLOADS
};
static const char *const workload_names[] = {"connects", "takeovers", "idle", "echo", "ack", "binary",
                                             "polling",  "broadcast", "rooms", "control"};

static struct {
  enum workload workload;
  const char *name, *host, *control, *tokens, *sids;
  int port, connections, bytes, window, rooms, room_size, senders, limit, second_port;
  struct pids { int list[64], count; } servers, redis;
  int in_flight[16], phases;
  double seconds, warmup, drain;
  long messages_max, warmup_count;
  bool tls, own_room;
} want = {.host = "127.0.0.1", .connections = 100, .bytes = 64, .rooms = 1000, .room_size = 10,
          .senders = 1, .limit = 120, .in_flight = {1}, .phases = 1, .seconds = 1, .warmup = 0.3,
          .drain = 30, .messages_max = 50000000};

static bool only_connects(void) {
  return want.workload == CONNECTS || want.workload == TAKEOVERS;
}

/* -- time, errors, latency */

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t own_cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_ns_of(int pid) { /* of all its threads */
  clockid_t clock;
  struct timespec t;
  if (!pid || clock_getcpuclockid(pid, &clock)) return 0;
  if (clock_gettime(clock, &t)) return 0;
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_ns_of_all(const struct pids *pids) {
  uint64_t ns = 0;
  for (int i = 0; i < pids->count; i++) ns += cpu_ns_of(pids->list[i]);
  return ns;
}

static void read_machine(uint64_t *busy, uint64_t *total) { /* all cores, in ticks; see proc(5) */
  unsigned long long user, nice, system, idle, waiting, irq, softirq, steal;
  FILE *file = fopen("/proc/stat", "r");
  *busy = *total = 0;
  if (!file) return;
  if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
             &waiting, &irq, &softirq, &steal) == 8) {
    *busy = user + nice + system + irq + softirq + steal;
    *total = *busy + idle + waiting;
  }
  fclose(file);
}

static long errors;
static bool failed; /* a connection was lost */

__attribute__((format(printf, 1, 2))) static void wrong(const char *format, ...) {
  if (++errors > 5) return;
  va_list arguments;
  va_start(arguments, format);
  fputs("loadgen: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

__attribute__((noreturn)) static void die(const char *what) {
  fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
  exit(2);
}

static void on_limit(int signal_number) {
  (void)signal_number;
  static const char text[] = "loadgen: over its time limit\n";
  if (write(2, text, sizeof text - 1) < 0) _exit(4);
  _exit(3);
}

static void *allocate(size_t count, size_t size) {
  void *made = calloc(count ? count : 1, size);
  if (!made) die("out of memory");
  return made;
}

enum { SUB = 64, SUB_BITS = 6 }; /* 64 buckets for each power of two: 1.6 % wide */
static struct histogram {
  uint64_t buckets[SUB * 60], max, count;
} all, across; /* of all messages; of those that came from the second server */

static void record(struct histogram *to, uint64_t ns) {
  int at = (int)ns;
  if (ns >= SUB) {
    int shift = 63 - __builtin_clzll(ns) - SUB_BITS;
    at = (shift + 1) * SUB + (int)((ns >> shift) & (SUB - 1));
  }
  if (at >= SUB * 60) at = SUB * 60 - 1;
  to->buckets[at]++;
  to->count++;
  if (ns > to->max) to->max = ns;
}

static double percentile_us(const struct histogram *of, double share) {
  uint64_t rank = (uint64_t)(share * (double)of->count), seen = 0;
  if (!of->count) return 0;
  for (int at = 0; at < SUB * 60; at++) {
    seen += of->buckets[at];
    if (seen > rank) {
      if (at < SUB) return at / 1e3;
      int shift = at / SUB - 1;
      double low = (double)((uint64_t)(SUB + at % SUB) << shift);
      double middle = low + (double)(1ull << shift) / 2;
      return (middle < (double)of->max ? middle : (double)of->max) / 1e3;
    }
  }
  return (double)of->max / 1e3;
}

/* -- connections */

enum state { CLOSED, CONNECTING, SHAKING, UPGRADING, OPENING, ENTERING, JOINING, READY, CLOSING };
enum { RING = 64 }; /* send times of one connection's events in flight */

struct connection {
  int fd, index, in_flight;
  enum state state;
  bool half, dirty, watches_output, at_get, owes_pong;
  uint32_t sent, received, joined, asked;
  uint64_t started;
  uint64_t *sent_at;
  uint8_t *in, *out;
  size_t in_length, in_size, out_length, out_sent, out_size;
  char sid[64];
#ifdef WITH_TLS
  SSL *ssl;
#endif
};

static struct connection *connections;
static int poll_fd, opened, opening, ready, next_source, target;
static uint8_t *scratch;
enum { SCRATCH = 1 << 20, OPENING_MAX = 128 };
static struct connection **dirty;
static int dirty_count;
#ifdef WITH_TLS
static SSL_CTX *tls_context;
#endif

static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};

static size_t put_header(uint8_t *to, int opcode, size_t length, bool masked) {
  size_t at = 2;
  to[0] = (uint8_t)(0x80 | opcode);
  if (length < 126) {
    to[1] = (uint8_t)length;
  } else if (length < 65536) {
    to[1] = 126, to[2] = (uint8_t)(length >> 8), to[3] = (uint8_t)length, at = 4;
  } else {
    to[1] = 127, at = 10;
    for (int i = 0; i < 8; i++) to[2 + i] = (uint8_t)((uint64_t)length >> (56 - 8 * i));
  }
  if (masked) to[1] |= 0x80, memcpy(to + at, mask, 4), at += 4;
  return at;
}

static size_t put_frame(uint8_t *to, int opcode, const void *payload, size_t length) {
  size_t at = put_header(to, opcode, length, true);
  for (size_t i = 0; i < length; i++) to[at + i] = ((const uint8_t *)payload)[i] ^ mask[i & 3];
  return at + length;
}

static void put_digits(uint8_t *to, uint64_t value, int width) {
  while (width--) to[width] = (uint8_t)('0' + value % 10), value /= 10;
}

static void put_masked_digits(uint8_t *payload, size_t offset, uint64_t value, int width) {
  while (width--)
    payload[offset + (size_t)width] =
        (uint8_t)(('0' + value % 10) ^ mask[(offset + (size_t)width) & 3]),
    value /= 10;
}

static uint8_t *reserve(struct connection *c, size_t length) {
  if (!c->dirty) c->dirty = true, dirty[dirty_count++] = c;
  if (c->out_length + length > c->out_size) {
    c->out_size = c->out_length + length + 256;
    c->out = realloc(c->out, c->out_size);
    if (!c->out) die("out of memory");
  }
  c->out_length += length;
  return c->out + c->out_length - length;
}

static void append(struct connection *c, const void *bytes, size_t length) {
  memcpy(reserve(c, length), bytes, length);
}

static void append_frame(struct connection *c, int opcode, const void *payload, size_t length) {
  uint8_t frame[4096];
  append(c, frame, put_frame(frame, opcode, payload, length));
}

static void watch(struct connection *c, bool output) {
  if (c->watches_output == output) return;
  struct epoll_event event = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event)) die("epoll_ctl");
  c->watches_output = output;
}

static void shut(struct connection *c) {
#ifdef WITH_TLS
  if (c->ssl) SSL_free(c->ssl), c->ssl = NULL;
#endif
  if (c->fd >= 0) close(c->fd);
  if (c->state != READY && c->state != CLOSED && c->state != CLOSING) opening--;
  if (c->state == READY) ready--;
  free(c->in), free(c->out);
  c->in = c->out = NULL;
  c->in_length = c->in_size = c->out_length = c->out_sent = c->out_size = 0;
  c->fd = -1, c->state = CLOSED;
}

static void lost(struct connection *c, const char *what) {
  if (c->state == CLOSING) {
    shut(c);
    return;
  }
  wrong("connection %d, state %d: %s", c->index, (int)c->state, what);
  failed = want.workload != IDLE;
  shut(c);
}

static void flush(struct connection *c) {
  while (c->out_sent < c->out_length) {
    ssize_t n;
    size_t length = c->out_length - c->out_sent;
#ifdef WITH_TLS
    if (c->ssl) {
      ERR_clear_error();
      n = SSL_write(c->ssl, c->out + c->out_sent, (int)length);
      if (n <= 0) {
        int why = SSL_get_error(c->ssl, (int)n);
        if (why != SSL_ERROR_WANT_WRITE && why != SSL_ERROR_WANT_READ) {
          lost(c, "TLS write failed");
          return;
        }
        watch(c, true);
        return;
      }
    } else
#endif
      n = send(c->fd, c->out + c->out_sent, length, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN) {
        lost(c, strerror(errno));
        return;
      }
      watch(c, true);
      return;
    }
    c->out_sent += (size_t)n;
  }
  c->out_length = c->out_sent = 0;
  if (want.workload == IDLE) free(c->out), c->out = NULL, c->out_size = 0;
  watch(c, false);
}

static void flush_dirty(void) {
  for (int i = 0; i < dirty_count; i++) {
    dirty[i]->dirty = false;
    if (dirty[i]->fd >= 0) flush(dirty[i]);
  }
  dirty_count = 0;
}

static bool is_across(const struct connection *c) { /* whether it is to the second server */
  return want.second_port && c->index % 2;
}

static int port_of(const struct connection *c) {
  return is_across(c) ? want.second_port : want.port;
}

static bool is_caller(const struct connection *c) {
  return want.workload == CONTROL && c->index == 1;
}

static void open_caller(struct connection *c) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  if (strlen(want.control) >= sizeof to.sun_path) die("--control is too long");
  strcpy(to.sun_path, want.control);
  c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  c->state = OPENING;
  opening++;
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) die(want.control);
  if (fcntl(c->fd, F_SETFL, O_NONBLOCK)) die("fcntl");
  if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
}

static void open_connection(struct connection *c) {
  int one = 1;
  if (is_caller(c)) {
    open_caller(c);
    return;
  }
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port_of(c))};
  if (inet_pton(AF_INET, want.host, &to.sin_addr) != 1) die("--host is no IPv4 address");
  if (ntohl(to.sin_addr.s_addr) >> 24 == 127) { /* many addresses: ports never run out */
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f000002u + (uint32_t)(next_source++ % 200));
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) die("bind");
  }
  c->started = now_ns();
  c->in_flight = 0, c->sent = c->received = c->joined = c->asked = 0;
  c->half = c->at_get = c->owes_pong = false;
  c->state = CONNECTING, c->watches_output = true;
  opening++;
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
    lost(c, strerror(errno));
    return;
  }
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
  if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
}

static void request(struct connection *c, const char *method, const char *body) {
  char head[512];
  int length = snprintf(head, sizeof head,
                        "%s /socket.io/?EIO=4&transport=polling%s%s HTTP/1.1\r\nHost: %s:%d\r\n",
                        method, *c->sid ? "&sid=" : "", c->sid, want.host, port_of(c));
  append(c, head, (size_t)length);
  if (body) {
    length = snprintf(head, sizeof head,
                      "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n\r\n",
                      strlen(body));
    append(c, head, (size_t)length);
    append(c, body, strlen(body));
  } else {
    append(c, "\r\n", 2);
  }
  c->at_get = !body;
}

static char (*sids)[64]; /* one for each connection, of sessions that are open */

static void read_sids(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) die("--sids");
  sids = allocate((size_t)want.connections, sizeof *sids);
  for (int i = 0; i < want.connections; i++)
    if (fscanf(file, "%63s", sids[i]) != 1) die("--sids has too few");
  fclose(file);
}

static void send_upgrade(struct connection *c) {
  char head[512];
  *c->sid = 0;
  c->state = UPGRADING;
  if (sids) memcpy(c->sid, sids[c->index], sizeof c->sid);
  if (want.workload == POLLING && sids) {
    c->state = ENTERING;
    request(c, "POST", "40");
    return;
  }
  if (want.workload == POLLING) {
    request(c, "GET", NULL);
    return;
  }
  int length = snprintf(head, sizeof head,
                        "GET /socket.io/?EIO=4&transport=websocket%s%s HTTP/1.1\r\nHost: %s:%d\r\n"
                        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Version: 13\r\n\r\n",
                        sids ? "&sid=" : "", c->sid, want.host, port_of(c));
  append(c, head, (size_t)length);
}

/* -- phases: warm-up, window, drain */

static int phase;
static bool running, recording, draining;
static const uint64_t STALL_NS = 20000000000u;
/* A window is that much longer at most, so that a slow server delivers all in flight once. */
static const double WHOLE_ROUND_S = 10;
static int fan_out; /* receivers of one message */
static uint64_t phase_at, window_at, drain_at, progress_at, now, cpu_at, server_at, redis_at;
static uint64_t busy_at, ticks_at;
static long completed, messages, warmed;
static int outstanding;

static int depth(void) { return want.in_flight[phase]; }

static struct { /* a window, told once the last replies are in: errors until then count */
  double seconds, p50_us, p99_us, max_us, across_p50_us, across_p99_us, generator_cpu, server_us;
  double redis_us, machine_busy;
  long messages;
} measured;

static void end_window(void) {
  double seconds = (double)(now - window_at) / 1e9;
  measured.seconds = seconds > 0 ? seconds : 1e-9;
  measured.messages = messages;
  measured.p50_us = percentile_us(&all, 0.5);
  measured.p99_us = percentile_us(&all, 0.99);
  measured.max_us = (double)all.max / 1e3;
  measured.across_p50_us = percentile_us(&across, 0.5);
  measured.across_p99_us = percentile_us(&across, 0.99);
  measured.generator_cpu = (double)(own_cpu_ns() - cpu_at) / 1e9 / measured.seconds;
  measured.server_us = measured.redis_us = measured.machine_busy = 0;
  if (messages) {
    measured.server_us =
        (double)(cpu_ns_of_all(&want.servers) - server_at) / 1e3 / (double)messages;
    measured.redis_us = (double)(cpu_ns_of_all(&want.redis) - redis_at) / 1e3 / (double)messages;
  }
  uint64_t busy, ticks;
  read_machine(&busy, &ticks);
  if (ticks > ticks_at) measured.machine_busy = (double)(busy - busy_at) / (double)(ticks - ticks_at);
  recording = false, draining = true;
  drain_at = now;
}

static void report(void) {
  printf("{\"workload\":\"%s\",\"connections\":%d,\"in_flight\":%d,\"bytes\":%d,"
         "\"seconds\":%.4f,\"messages\":%ld,\"per_second\":%.1f,\"p50_us\":%.1f,"
         "\"p99_us\":%.1f,\"max_us\":%.1f,\"errors\":%ld,\"generator_cpu\":%.3f,"
         "\"server_us\":%.4f,\"redis_us\":%.4f,\"machine_busy\":%.3f,"
         "\"across_p50_us\":%.1f,\"across_p99_us\":%.1f}\n",
         want.name, want.connections, depth(), want.bytes, measured.seconds, measured.messages,
         (double)measured.messages / measured.seconds, measured.p50_us, measured.p99_us,
         measured.max_us, errors, measured.generator_cpu, measured.server_us, measured.redis_us,
         measured.machine_busy, measured.across_p50_us, measured.across_p99_us);
  fflush(stdout);
}

static void begin_phase(void);

static void start_window(void) {
  all = across = (struct histogram){0};
  messages = 0;
  recording = true;
  window_at = now;
  cpu_at = own_cpu_ns();
  server_at = cpu_ns_of_all(&want.servers);
  redis_at = cpu_ns_of_all(&want.redis);
  read_machine(&busy_at, &ticks_at);
}

static void end_phase(void) {
  report();
  running = draining = false;
  errors = 0;
  if (++phase == want.phases) exit(0);
  begin_phase();
}

static void give_up(void) { /* what comes late would disturb the phases after this one */
  if (!running) {
    fputs("loadgen: the connections could not be opened\n", stderr);
    exit(5);
  }
  if (!recording && !draining) start_window();
  if (recording) end_window();
  report();
  exit(5);
}

static void advance_phase(void) {
  if (failed || errors > 1000) give_up();
  if (!running) return;
  bool warm = only_connects() ? warmed >= want.warmup_count
                                        : (double)(now - phase_at) / 1e9 >= want.warmup;
  if (!recording && !draining && warm) start_window();
  double took = (double)(now - window_at) / 1e9;
  long least = fan_out ? (long)fan_out * depth() * want.senders : 0;
  if (recording && (messages >= want.messages_max || took >= want.seconds + WHOLE_ROUND_S ||
                    (took >= want.seconds && messages >= least)))
    end_window();
  if (draining && outstanding <= 0) {
    end_phase();
  } else if (draining && (double)(now - drain_at) / 1e9 > want.drain) {
    wrong("%d replies did not come within %.0f s", outstanding, want.drain);
    give_up();
  } else if (now - progress_at > STALL_NS) {
    wrong("nothing came for a while, %d replies are outstanding", outstanding);
    give_up();
  }
}

static void count_one(const struct connection *c, uint64_t sent_at) {
  completed++;
  progress_at = now;
  if (!recording) return;
  messages++;
  record(&all, now - sent_at);
  if (is_across(c)) record(&across, now - sent_at);
}

/* -- echo, ack, binary, polling: one reply for each event, in order */

enum { SEQUENCE = 10, WHO = 5, ROOM = 6, ACK_ID = 7, ACK_FIRST = 1000000 };
static uint8_t *event_frame, *reply;
static size_t event_length, event_header, reply_length, number_in_event, number_in_reply;
static char *event_text;
static const char placeholder[] = "451-[\"echo\",{\"_placeholder\":true,\"num\":0}]";

static void fill(uint8_t *to, int length) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_ .";
  for (int i = 0; i < length; i++) to[i] = (uint8_t)letters[i % (int)(sizeof letters - 1)];
}

static size_t put_text(uint8_t *to, const char *before, const char *after) {
  size_t at = strlen(before);
  memcpy(to, before, at);
  fill(to + at, want.bytes);
  memcpy(to + at + want.bytes, after, strlen(after));
  return at + (size_t)want.bytes + strlen(after);
}

static void prepare_templates(void) {
  size_t size = (size_t)want.bytes + 128;
  uint8_t *text = allocate(size, 1);
  reply = allocate(size, 1);
  event_frame = allocate(2 * size, 1);
  size_t length;
  if (want.workload == BINARY) {
    fill(text, want.bytes);
    fill(reply, want.bytes);
    length = reply_length = (size_t)want.bytes;
    event_header = put_frame(event_frame, 1, placeholder, sizeof placeholder - 1);
    event_length = event_header + put_frame(event_frame + event_header, 2, text, length);
  } else {
    bool ack = want.workload == ACK;
    number_in_event = strlen(ack ? "421234567[\"echo_ack\",\"" : "42[\"echo\",\"");
    number_in_reply = ack ? strlen("431234567[\"") : number_in_event;
    length = put_text(text, ack ? "421234567[\"echo_ack\",\"" : "42[\"echo\",\"", "\"]");
    reply_length = put_text(reply, ack ? "431234567[\"" : "42[\"echo\",\"", "\"]");
    event_length = put_frame(event_frame, 1, text, length);
  }
  event_header = event_length - length;
  event_text = allocate(size, 1);
  memcpy(event_text, text, length);
  free(text);
}

static uint8_t *call_line, *answer_line;
static size_t call_length, number_in_call, answer_length;
static const char call_start[] = "{\"jsonrpc\":\"2.0\",\"id\":";

static void prepare_call(const char *sid) {
  char before[128], after[128];
  snprintf(before, sizeof before,
           "%s%d,\"method\":\"emit\",\"params\":{\"event\":\"echo\",\"args\":[\"", call_start,
           ACK_FIRST);
  snprintf(after, sizeof after, "\"],\"sockets\":[\"%s\"]}}\n", sid);
  call_line = allocate((size_t)want.bytes + sizeof before + sizeof after, 1);
  answer_line = allocate(128, 1);
  number_in_call = strlen(before);
  call_length = put_text(call_line, before, after);
  answer_length = (size_t)snprintf((char *)answer_line, 128,
                                   "%s%d,\"result\":{\"reached\":1,\"missing\":{}}}", call_start,
                                   ACK_FIRST);
}

static void send_call(struct connection *c, uint32_t number) {
  uint8_t *line = reserve(c, call_length);
  memcpy(line, call_line, call_length);
  put_digits(line + sizeof call_start - 1, ACK_FIRST + number, ACK_ID);
  put_digits(line + number_in_call, number, SEQUENCE);
  put_digits(line + number_in_call + SEQUENCE, 0, WHO);
}

static void send_event(struct connection *c) {
  uint32_t number = c->sent++;
  c->sent_at[number % RING] = now;
  c->in_flight++;
  outstanding++;
  if (want.workload == CONTROL) {
    outstanding++; /* the answer, and the client's event */
    send_call(c, number);
    return;
  }
  if (want.workload == POLLING) {
    char body[want.bytes + 64];
    size_t at = c->owes_pong ? 2 : 0;
    memcpy(body, "3\x1e", 2);
    strcpy(body + at, event_text);
    put_digits((uint8_t *)body + at + number_in_event, number, SEQUENCE);
    put_digits((uint8_t *)body + at + number_in_event + SEQUENCE, (uint64_t)c->index, WHO);
    c->owes_pong = false;
    request(c, "POST", body);
    return;
  }
  uint8_t *frame = reserve(c, event_length);
  memcpy(frame, event_frame, event_length);
  if (want.workload == ACK)
    put_masked_digits(frame + event_header, 2, ACK_FIRST + number, ACK_ID);
  put_masked_digits(frame + event_header, number_in_event, number, SEQUENCE);
  put_masked_digits(frame + event_header, number_in_event + SEQUENCE, (uint64_t)c->index, WHO);
}

static bool may_send(void) {
  bool few = (want.workload != ACK && want.workload != CONTROL) || completed < 8000000;
  return !draining && few;
}

static struct connection *next_in_rotation(void) {
  static int at;
  for (int tried = 0; tried < want.connections; tried++) {
    at = at + 1 < want.connections ? at + 1 : 0;
    if (connections[at].state == READY && !connections[at].in_flight) return &connections[at];
  }
  return NULL;
}

static void on_answer(struct connection *c, const uint8_t *line, size_t length) {
  uint32_t number = c->received++;
  put_digits(answer_line + sizeof call_start - 1, ACK_FIRST + number, ACK_ID);
  if (length != answer_length || memcmp(line, answer_line, length) || !c->in_flight) {
    wrong("answer %u: got %.*s, not %s", number, (int)(length < 200 ? length : 200),
          (const char *)line, (const char *)answer_line);
    return;
  }
  c->in_flight--;
  outstanding--;
  count_one(c, c->sent_at[number % RING]);
  if (may_send()) send_event(c);
}

static void on_reply(struct connection *c, const uint8_t *text, size_t length) {
  uint32_t number = c->received++;
  if (want.workload == ACK) put_digits(reply + 2, ACK_FIRST + number, ACK_ID);
  put_digits(reply + number_in_reply, number, SEQUENCE);
  put_digits(reply + number_in_reply + SEQUENCE, (uint64_t)c->index, WHO);
  if (length != reply_length || memcmp(text, reply, length)) {
    wrong("connection %d, reply %u: got %zu bytes %.*s, not %zu bytes %.*s", c->index, number,
          length, (int)(length < 100 ? length : 100), (const char *)text, reply_length,
          (int)(reply_length < 100 ? reply_length : 100), (const char *)reply);
    return;
  }
  if (want.workload == CONTROL) { /* what was emitted to this client */
    outstanding--;
    return;
  }
  if (!c->in_flight) {
    wrong("connection %d: a reply to nothing", c->index);
    return;
  }
  c->in_flight--;
  outstanding--;
  count_one(c, c->sent_at[number % RING]);
  if (!may_send()) return;
  if (!want.window) {
    send_event(c);
    return;
  }
  struct connection *other = next_in_rotation();
  if (other) send_event(other);
}

/* -- broadcast, rooms: one message, many receivers, each exactly once and in order */

struct slot { /* one message in flight */
  uint32_t sequence, count;
  int room, sender;
  uint64_t sent_at;
  uint8_t *expected;
};
static struct slot *slots;
static uint32_t *sequences, *seen; /* by sender; by receiver and sender */
static uint64_t dice = 88172645463325252u;

static struct connection *sender_of(int sender) {
  return &connections[(long)sender * want.connections / want.senders];
}

static bool is_member(int index, int room) {
  if (room < 0) return true;
  long first = (long)room * want.room_size % want.connections;
  long distance = (index - first + want.connections) % want.connections;
  return distance < want.room_size;
}

static void send_message(int sender, int at) {
  struct slot *slot = &slots[at];
  struct connection *c = sender_of(sender);
  char before[64];
  uint8_t text[want.bytes + 128], frame[want.bytes + 160];
  if (c->state != READY) return;
  slot->room = -1;
  if (want.workload == ROOMS) {
    dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
    slot->room = want.own_room ? c->index / want.room_size : (int)(dice % (uint64_t)want.rooms);
  }
  slot->sender = sender;
  slot->sequence = ++sequences[sender];
  slot->count = 0;
  slot->sent_at = now;
  if (slot->room < 0) strcpy(before, "42[\"bcast\",\"");
  else snprintf(before, sizeof before, "42[\"room\",\"r%d\",\"", slot->room);
  uint8_t *number = text + strlen(before);
  size_t length = put_text(text, before, "\"]");
  put_digits(number, slot->sequence, SEQUENCE);
  put_digits(number + SEQUENCE, (uint64_t)at, WHO);
  put_digits(number + SEQUENCE + WHO, (uint64_t)(slot->room + 1), ROOM);
  memcpy(slot->expected + number_in_reply, number, (size_t)want.bytes);
  append(c, frame, put_frame(frame, 1, text, length));
  outstanding += fan_out;
}

static void prepare_fan_out(void) {
  bool broadcast = want.workload == BROADCAST;
  const char *before = broadcast ? "42[\"bcast\",\"" : "42[\"room\",\"";
  int most = 1;
  for (int i = 0; i < want.phases; i++) most = most > want.in_flight[i] ? most : want.in_flight[i];
  if (broadcast) want.senders = 1;
  if (most * want.senders > 99999) die("too many messages in flight");
  fan_out = broadcast ? want.connections : want.room_size;
  if (fan_out > want.connections) die("a room is larger than --connections");
  number_in_reply = strlen(before);
  reply_length = number_in_reply + (size_t)want.bytes + 2;
  slots = allocate((size_t)(most * want.senders), sizeof *slots);
  for (int i = 0; i < most * want.senders; i++) {
    slots[i].expected = allocate(reply_length + 64, 1);
    put_text(slots[i].expected, before, "\"]");
  }
  sequences = allocate((size_t)want.senders, sizeof *sequences);
  seen = allocate((size_t)want.connections * (size_t)want.senders, sizeof *seen);
}

static void on_message_received(struct connection *c, const uint8_t *text, size_t length) {
  int at = -1;
  if (length == reply_length) {
    at = 0;
    for (size_t i = 0; i < WHO; i++) at = at * 10 + text[number_in_reply + SEQUENCE + i] - '0';
  }
  if (at < 0 || at >= depth() * want.senders ||
      memcmp(text, slots[at].expected, length)) {
    wrong("connection %d: nobody sent %zu bytes %.*s", c->index, length,
          (int)(length < 100 ? length : 100), (const char *)text);
    return;
  }
  struct slot *slot = &slots[at];
  uint32_t *last = &seen[(long)c->index * want.senders + slot->sender];
  bool next = want.workload == BROADCAST ? slot->sequence == *last + 1 : slot->sequence > *last;
  if (!next) wrong("connection %d: message %u after %u", c->index, slot->sequence, *last);
  if (!is_member(c->index, slot->room))
    wrong("connection %d is not in room %d", c->index, slot->room);
  *last = slot->sequence;
  outstanding--;
  count_one(c, slot->sent_at);
  if (++slot->count == (uint32_t)fan_out && !draining) send_message(slot->sender, at);
}

/* -- from a fresh connection to a ready one */

static void begin_phase(void) {
  now = now_ns();
  phase_at = progress_at = now;
  running = true;
  if (want.workload == BROADCAST || want.workload == ROOMS) {
    for (int at = 0; at < depth() * want.senders; at++) send_message(at / depth(), at);
  } else if (want.workload == IDLE || only_connects()) {
    return;
  } else if (want.workload == CONTROL) {
    for (int k = 0; k < depth(); k++) send_event(&connections[1]);
  } else if (want.window) {
    for (int i = 0; i < want.window; i++) {
      struct connection *c = next_in_rotation();
      if (c) send_event(c);
    }
  } else {
    for (int i = 0; i < want.connections; i++)
      for (int k = 0; connections[i].state == READY && k < depth(); k++)
        send_event(&connections[i]);
  }
  flush_dirty();
}

static void on_ready(struct connection *c) {
  c->state = READY;
  opening--, ready++;
  if (want.workload == CONNECTS) {
    progress_at = now;
    warmed++;
    count_one(c, c->started);
    append_frame(c, 8, "\x03\xe8", 2);
    ready--;
    c->state = CLOSING;
  } else if (want.workload == TAKEOVERS) {
    progress_at = now;
    warmed++;
    count_one(c, c->started);
  } else if (ready == target && want.workload == IDLE) {
    printf("{\"held\":%d}\n", ready);
    fflush(stdout);
  } else if (want.workload == CONTROL && ready == 1) {
    target = want.connections; /* the client is there: the caller may come */
  } else if (ready == want.connections && want.workload != IDLE) {
    begin_phase();
  }
}

static void ask_to_join(struct connection *c) {
  char text[64];
  long places = (long)want.rooms * want.room_size;
  while (c->asked - c->joined < 16) {
    long place = c->index + (long)c->asked * want.connections;
    if (place >= places) break;
    int length = snprintf(text, sizeof text, "420[\"join\",\"r%ld\"]", place / want.room_size);
    append_frame(c, 1, text, (size_t)length);
    c->asked++;
  }
  if (c->asked == c->joined) on_ready(c);
}

static bool starts(const uint8_t *text, size_t length, const char *with) {
  return length >= strlen(with) && !memcmp(text, with, strlen(with));
}

static bool take_sid(struct connection *c, const uint8_t *sid, size_t length) {
  const uint8_t *end = memchr(sid, '"', length);
  if (!end || (size_t)(end - sid) >= sizeof c->sid) return false;
  memcpy(c->sid, sid, (size_t)(end - sid));
  c->sid[end - sid] = 0;
  return true;
}

/* -- who the clients are */

enum { TOKENS_MAX = 4096, TOKEN_MAX = 2000 };
static char *tokens[TOKENS_MAX]; /* without --tokens, clients say nothing of themselves */
static int token_count;

static void read_tokens(const char *path) {
  char line[TOKEN_MAX + 2];
  FILE *file = fopen(path, "r");
  if (!file) die("--tokens");
  while (token_count < TOKENS_MAX && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    if (*line && !(tokens[token_count++] = strdup(line))) die("out of memory");
  }
  fclose(file);
}

static void send_connect(struct connection *c) {
  char text[TOKEN_MAX + 32] = "40";
  int number = want.workload == TAKEOVERS ? c->index / 2 : c->index;
  if (token_count)
    snprintf(text, sizeof text, "40{\"token\":\"%s\"}", tokens[number % token_count]);
  append_frame(c, 1, text, strlen(text));
}

/* Two clients of a user take turns: each is let in, is told that it is replaced, and comes again. */
static bool on_replaced(struct connection *c, const uint8_t *text, size_t length) {
  if (starts(text, length, "42[\"session/replaced\",{\"reason\":\"replaced\"}]")) {
    c->asked = 1;
    return true;
  }
  if (length != 2 || memcmp(text, "41", 2) || !c->asked) return false;
  append_frame(c, 8, "\x03\xe8", 2);
  ready--;
  c->state = CLOSING;
  return true;
}

static void on_text(struct connection *c, const uint8_t *text, size_t length) {
  if (length == 1 && *text == '2') {
    if (want.workload == POLLING) c->owes_pong = true;
    else append_frame(c, 1, "3", 1);
    return;
  }
  switch (c->state) {
    case OPENING:
      if (sids) {
        if (length != 6 || memcmp(text, "3probe", 6)) break;
        append_frame(c, 1, "5", 1);
        send_connect(c);
        c->state = ENTERING;
        return;
      }
      if (!starts(text, length, "0{\"sid\":\"")) break;
      if (want.workload == POLLING) {
        if (!take_sid(c, text + 9, length - 9)) break;
      } else {
        send_connect(c);
      }
      c->state = ENTERING;
      return;
    case ENTERING:
      if (!starts(text, length, "40{\"sid\":\"")) break;
      if (want.workload == CONTROL) {
        if (!take_sid(c, text + 10, length - 10)) break;
        prepare_call(c->sid);
      }
      if (want.workload == ROOMS) {
        c->state = JOINING;
        ask_to_join(c);
      } else {
        on_ready(c);
      }
      return;
    case JOINING:
      if (length != 5 || memcmp(text, "430[]", 5)) break;
      c->joined++;
      ask_to_join(c);
      return;
    case READY:
      if (want.workload == BROADCAST || want.workload == ROOMS) {
        on_message_received(c, text, length);
        return;
      }
      if (want.workload == BINARY) {
        if (c->half || length != sizeof placeholder - 1 || memcmp(text, placeholder, length)) break;
        c->half = true;
        return;
      }
      if (want.workload == IDLE) break;
      if (want.workload == TAKEOVERS) {
        if (!on_replaced(c, text, length)) break;
        return;
      }
      on_reply(c, text, length);
      return;
    case CLOSING:
      return;
    default:
      break;
  }
  wrong("connection %d, state %d: unexpected %.*s", c->index, (int)c->state,
        (int)(length < 100 ? length : 100), (const char *)text);
}

/* -- bytes in */

static size_t consume_frame(struct connection *c, const uint8_t *p, size_t n) {
  if (n < 2) return 0;
  size_t length = p[1] & 127, header = 2;
  if (p[1] & 0x80 || !(p[0] & 0x80) || p[0] & 0x70) {
    lost(c, "a masked, partial or extended frame");
    return n;
  }
  if (length == 126) {
    if (n < 4) return 0;
    length = (size_t)p[2] << 8 | p[3], header = 4;
  } else if (length == 127) {
    if (n < 10) return 0;
    length = 0, header = 10;
    for (int i = 2; i < 10; i++) length = length << 8 | p[i];
  }
  if (length > SCRATCH / 2) {
    lost(c, "too large a frame");
    return n;
  }
  if (n < header + length) return 0;
  const uint8_t *payload = p + header;
  switch (p[0] & 15) {
    case 1:
      on_text(c, payload, length);
      break;
    case 2:
      if (!c->half) wrong("connection %d: a binary frame alone", c->index);
      else c->half = false, on_reply(c, payload, length);
      break;
    case 8:
      if (c->state == CLOSING) shut(c);
      else lost(c, "the server closed");
      return n;
    case 9:
      append_frame(c, 10, payload, length < 125 ? length : 125);
      break;
    default:
      break;
  }
  return header + length;
}

static size_t consume_line(struct connection *c, const uint8_t *p, size_t n) {
  const uint8_t *end = memchr(p, '\n', n);
  if (!end) return 0;
  size_t length = (size_t)(end - p);
  if (c->state == READY) on_answer(c, p, length);
  else if (memmem(p, length, "\"method\":\"hello\"", 16)) on_ready(c);
  else lost(c, "no greeting");
  return length + 1;
}

static void next_request(struct connection *c) {
  if (c->state == ENTERING) request(c, c->at_get ? "POST" : "GET", c->at_get ? "40" : NULL);
  else if (c->in_flight) request(c, "GET", NULL);
}

static const char *field(const char *head, const char *end, const char *name) {
  for (const char *at = head; at && at < end; at = memchr(at, '\n', (size_t)(end - at))) {
    if (at != head) at++;
    if ((size_t)(end - at) > strlen(name) && !strncasecmp(at, name, strlen(name)))
      return at + strlen(name);
  }
  return NULL;
}

static size_t consume_response(struct connection *c, const uint8_t *p, size_t n) {
  const char *head = (const char *)p;
  const char *end = memmem(p, n, "\r\n\r\n", 4);
  if (!end) return 0;
  const char *body = end + 4;
  if (want.workload != POLLING) {
    if (!starts(p, n, "HTTP/1.1 101") || !memmem(p, (size_t)(end - head),
                                                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28))
      lost(c, "the upgrade was refused");
    else {
      c->state = OPENING;
      if (sids) append_frame(c, 1, "2probe", 6);
    }
    return (size_t)(body - head);
  }
  const char *number = field(head, end, "content-length:");
  size_t have = n - (size_t)(body - head), length, extra = 0;
  if (number) {
    length = (size_t)atol(number);
  } else { /* chunked, as one chunk and the last */
    const char *line = memmem(body, have, "\r\n", 2);
    if (!line) return 0;
    length = (size_t)strtoul(body, NULL, 16);
    extra = (size_t)(line - body) + 2 + 2 + 5;
    if (have < length + extra) return 0;
    body = line + 2;
  }
  if (have < length + extra) return 0;
  if (!starts(p, n, "HTTP/1.1 200")) {
    lost(c, "a polling request was refused");
    return n;
  }
  bool was_get = c->at_get;
  if (c->state == UPGRADING) c->state = OPENING;
  if (!was_get) {
    if (length != 2 || strncasecmp(body, "ok", 2)) wrong("connection %d: POST not ok", c->index);
    next_request(c);
  } else {
    const char *at = body, *stop = body + length;
    int pending = c->in_flight;
    uint32_t received = c->received;
    while (at < stop && c->fd >= 0) {
      const char *separator = memchr(at, 0x1e, (size_t)(stop - at));
      const char *until = separator ? separator : stop;
      on_text(c, (const uint8_t *)at, (size_t)(until - at));
      at = separator ? separator + 1 : stop;
    }
    if (c->state == ENTERING) {
      next_request(c);
    } else if (pending && c->received == received) {
      c->owes_pong = false; /* a ping alone: pong, then poll again */
      request(c, "POST", "3");
    }
  }
  return (size_t)(body - head) + length + (number ? 0 : 7);
}

static void consume(struct connection *c, const uint8_t *p, size_t n) {
  while (n && c->fd >= 0) {
    bool http = c->state == UPGRADING || (want.workload == POLLING);
    size_t used = is_caller(c) ? consume_line(c, p, n)
                  : http       ? consume_response(c, p, n)
                               : consume_frame(c, p, n);
    if (!used) break;
    p += used, n -= used;
  }
  if (c->fd < 0) return;
  if (n > c->in_size) {
    free(c->in);
    c->in = allocate(n, 1);
    c->in_size = n;
  }
  if (n) memmove(c->in, p, n);
  c->in_length = n;
}

static void on_readable(struct connection *c) {
  size_t have = c->in_length;
  ssize_t n;
  memcpy(scratch, c->in, have);
#ifdef WITH_TLS
  if (c->ssl) {
    size_t start = have;
    for (;;) {
      ERR_clear_error();
      n = SSL_read(c->ssl, scratch + have, (int)(SCRATCH - have));
      if (n <= 0) break;
      have += (size_t)n;
      if (have > SCRATCH / 2) break;
    }
    int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, (int)n);
    if (have == start && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
      lost(c, "TLS connection ended");
      return;
    }
    now = now_ns();
    consume(c, scratch, have);
    return;
  }
#endif
  n = recv(c->fd, scratch + have, SCRATCH - have, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    lost(c, n ? strerror(errno) : "the server hung up");
    return;
  }
  now = now_ns();
  consume(c, scratch, have + (size_t)n);
}

#ifdef WITH_TLS
static void shake(struct connection *c) {
  ERR_clear_error();
  int done = SSL_do_handshake(c->ssl);
  if (done == 1) {
    watch(c, false);
    send_upgrade(c);
    return;
  }
  int why = SSL_get_error(c->ssl, done);
  if (why == SSL_ERROR_WANT_WRITE) watch(c, true);
  else if (why == SSL_ERROR_WANT_READ) watch(c, false);
  else lost(c, "TLS handshake failed");
}
#endif

static void on_event(struct connection *c, uint32_t events) {
  if (c->fd < 0) return;
  if (c->state == CONNECTING) {
    int fault = 0;
    socklen_t size = sizeof fault;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &fault, &size);
    if (fault) {
      lost(c, strerror(fault));
      return;
    }
#ifdef WITH_TLS
    if (want.tls) {
      c->ssl = SSL_new(tls_context);
      SSL_set_fd(c->ssl, c->fd);
      SSL_set_connect_state(c->ssl);
      c->state = SHAKING;
      shake(c);
      return;
    }
#endif
    send_upgrade(c);
    return;
  }
#ifdef WITH_TLS
  if (c->state == SHAKING) {
    shake(c);
    return;
  }
#endif
  if (events & EPOLLOUT) flush(c);
  if (c->fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
}

/* -- the program */

static void open_more(void) {
  if (want.workload == TAKEOVERS) {
    outstanding = 0;
    for (int i = 0; i < want.connections; i++) {
      struct connection *c = &connections[i], *other = &connections[i ^ 1];
      bool turn = other->state == READY || (i % 2 == 0 && other->state == CLOSED);
      if (c->state == CLOSED && turn && !draining) open_connection(c);
      outstanding += c->state != CLOSED && c->state != READY;
    }
    return;
  }
  if (want.workload == CONNECTS) {
    for (int i = 0; i < want.connections && !draining; i++)
      if (connections[i].state == CLOSED) open_connection(&connections[i]);
    outstanding = 0;
    for (int i = 0; draining && i < want.connections; i++)
      outstanding += connections[i].state != CLOSED;
    return;
  }
  while (opened < target && opening < OPENING_MAX) open_connection(&connections[opened++]);
}

static int read_target(void) { /* a number on stdin; nothing more: the end */
  char line[64];
  ssize_t n = read(0, line, sizeof line - 1);
  if (n <= 0) return -1;
  line[n] = 0;
  return atoi(line);
}

static void run(void) {
  struct epoll_event events[512];
  if (want.workload == IDLE) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, 0, &event)) die("stdin must be a pipe");
  }
  if (only_connects()) begin_phase();
  for (;;) {
    open_more();
    flush_dirty();
    int count = epoll_wait(poll_fd, events, 512, 20);
    now = now_ns();
    for (int i = 0; i < count; i++) {
      if (!events[i].data.ptr) {
        int asked = read_target();
        if (asked < 0) {
          printf("{\"workload\":\"idle\",\"connections\":%d,\"held\":%d,\"errors\":%ld}\n", target,
                 ready, errors);
          exit(0);
        }
        if (asked > target && asked <= want.connections) target = asked;
        continue;
      }
      on_event(events[i].data.ptr, events[i].events);
      flush_dirty();
    }
    now = now_ns();
    advance_phase();
  }
}

static void usage(void) {
  fputs("usage: loadgen connects|takeovers|idle|echo|ack|binary|polling|broadcast|rooms|control --port P\n"
        "  [--host IPV4] [--tls] [--connections N] [--in-flight K,K,...] [--bytes N]\n"
        "  [--seconds S] [--warmup S] [--warmup-count N] [--messages-max N] [--drain S]\n"
        "  [--limit S] [--window N] [--rooms N] [--room-size N] [--senders N] [--own-room]\n"
        "  [--target N] [--name TEXT] [--server-pids PID,PID,...] [--redis-pid PID] [--control PATH]\n"
        "  [--tokens FILE] [--sids FILE] [--second-port P]\n",
        stderr);
  exit(2);
}

static void read_pids(struct pids *to, char *text) { /* CPU times are those of all of them together */
  for (char *at = strtok(text, ","); at; at = strtok(NULL, ",")) {
    if (to->count == sizeof to->list / sizeof *to->list) usage();
    to->list[to->count++] = atoi(at);
  }
}

static void parse(int count, char **arguments) {
  static const struct option options[] = {
      {"host", 1, 0, 'h'},     {"port", 1, 0, 'p'},      {"tls", 0, 0, 't'},
      {"bytes", 1, 0, 'b'},    {"connections", 1, 0, 'c'}, {"in-flight", 1, 0, 'k'},
      {"seconds", 1, 0, 's'},  {"warmup", 1, 0, 'w'},    {"warmup-count", 1, 0, 'W'},
      {"drain", 1, 0, 'd'},    {"messages-max", 1, 0, 'm'}, {"limit", 1, 0, 'l'},
      {"window", 1, 0, 'n'},   {"rooms", 1, 0, 'r'},     {"room-size", 1, 0, 'z'},
      {"senders", 1, 0, 'S'},  {"own-room", 0, 0, 'o'},  {"name", 1, 0, 'N'},
      {"server-pids", 1, 0, 'P'}, {"target", 1, 0, 'T'}, {"control", 1, 0, 'C'},
      {"tokens", 1, 0, 'K'},   {"second-port", 1, 0, 'q'}, {"redis-pid", 1, 0, 'R'},
      {"sids", 1, 0, 'i'},
      {0, 0, 0, 0}};
  int option, found = WORKLOADS;
  for (int i = 0; count > 1 && i < WORKLOADS; i++)
    if (!strcmp(arguments[1], workload_names[i])) found = i;
  if (found == WORKLOADS) usage();
  want.workload = (enum workload)found;
  want.name = workload_names[found];
  optind = 2;
  while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) {
    switch (option) {
      case 'h': want.host = optarg; break;
      case 'p': want.port = atoi(optarg); break;
      case 't': want.tls = true; break;
      case 'b': want.bytes = atoi(optarg); break;
      case 'c': want.connections = atoi(optarg); break;
      case 's': want.seconds = atof(optarg); break;
      case 'w': want.warmup = atof(optarg); break;
      case 'W': want.warmup_count = atol(optarg); break;
      case 'd': want.drain = atof(optarg); break;
      case 'm': want.messages_max = atol(optarg); break;
      case 'l': want.limit = atoi(optarg); break;
      case 'n': want.window = atoi(optarg); break;
      case 'r': want.rooms = atoi(optarg); break;
      case 'z': want.room_size = atoi(optarg); break;
      case 'S': want.senders = atoi(optarg); break;
      case 'o': want.own_room = true; break;
      case 'N': want.name = optarg; break;
      case 'C': want.control = optarg; break;
      case 'K': want.tokens = optarg; break;
      case 'i': want.sids = optarg; break;
      case 'P': read_pids(&want.servers, optarg); break;
      case 'R': read_pids(&want.redis, optarg); break;
      case 'q': want.second_port = atoi(optarg); break;
      case 'T': target = atoi(optarg); break;
      case 'k':
        want.phases = 0;
        for (char *at = strtok(optarg, ","); at && want.phases < 16; at = strtok(NULL, ","))
          want.in_flight[want.phases++] = atoi(at);
        break;
      default: usage();
    }
  }
  if (want.workload == CONTROL) want.connections = 2; /* a client, and the caller */
  if (want.workload == TAKEOVERS && (!want.tokens || want.connections % 2)) usage();
  bool fits = (want.workload == CONTROL) == (want.control != NULL) && want.port > 0 && want.port < 65536 &&
              want.second_port >= 0 && want.second_port < 65536 &&
              (!want.second_port || only_connects() || want.workload == BROADCAST ||
               want.workload == ROOMS) &&
              !(want.sids && (only_connects() || want.workload == CONTROL)) &&
              want.connections > 0 && want.phases > 0 &&
              want.connections < 100000 && want.bytes >= SEQUENCE + WHO + ROOM &&
              want.bytes <= 65536 && want.rooms > 0 && want.rooms < 1000000 &&
              want.room_size > 0 && want.senders > 0 && want.senders <= want.connections &&
              want.window <= want.connections && want.limit > 0;
  for (int i = 0; i < want.phases; i++) {
    int most = want.workload == POLLING || want.window ? 1 : RING;
    fits = fits && want.in_flight[i] > 0 && want.in_flight[i] <= most;
  }
  if (!fits) usage();
}

int main(int count, char **arguments) {
  parse(count, arguments);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGALRM, on_limit);
  alarm((unsigned)want.limit);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < (rlim_t)want.connections + 64) {
    fprintf(stderr, "loadgen: %lu file descriptors are too few for %d connections\n",
            (unsigned long)limit.rlim_cur, want.connections);
    return 2;
  }
#ifdef WITH_TLS
  if (want.tls) {
    tls_context = SSL_CTX_new(TLS_client_method());
    if (!tls_context) die("no TLS");
    SSL_CTX_set_mode(tls_context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  }
#else
  if (want.tls) {
    fputs("loadgen: built without OpenSSL\n", stderr);
    return 2;
  }
#endif
  if (want.tokens) read_tokens(want.tokens);
  if (want.sids) read_sids(want.sids);
  connections = allocate((size_t)want.connections, sizeof *connections);
  uint64_t *times = allocate((size_t)want.connections * RING, sizeof *times);
  for (int i = 0; i < want.connections; i++)
    connections[i] = (struct connection){.fd = -1, .index = i, .sent_at = times + (long)i * RING};
  dirty = allocate((size_t)want.connections, sizeof(struct connection *));
  scratch = allocate(SCRATCH, 1);
  if (!target || want.workload != IDLE) target = want.connections;
  if (want.workload == CONTROL) target = 1;
  if (want.workload == BROADCAST || want.workload == ROOMS) prepare_fan_out();
  else prepare_templates();
  poll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (poll_fd < 0) die("epoll_create1");
  run();
}
