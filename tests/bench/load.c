// A load generator that is never the bottleneck: one thread, one prepared message, pipelined
// envelopes as RFC 2920 allows them. Prints messages per second; any refusal ends it.
// usage: load PORT BYTES SESSIONS new|kept MESSAGES
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum state { GREETING, HELLO, ENVELOPE, FINAL, BYE };
struct session { int fd; enum state state; int awaited; const char *out; size_t left, have; char in[8192]; };

static const char envelope[] = "MAIL FROM:<bench@client.test>\r\nRCPT TO:<someone@example.net>\r\nDATA\r\n";
static char *message;
static size_t message_size;
static long to_start, to_finish;
static int port, keep, ep, opened;

static void die(const char *what, const char *text) { fprintf(stderr, "load: %s: %s\n", what, text); exit(1); }

static void push(struct session *s) {
    while (s->left) {
        ssize_t n = write(s->fd, s->out, s->left);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) die("write", strerror(errno));
        s->out += n; s->left -= n;
    }
}
static void say(struct session *s, const char *out, size_t size, int replies, enum state next) {
    s->out = out; s->left = size; s->awaited = replies; s->state = next;
    push(s);
}
static void open_session(struct session *s) {
    int one = 1;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    // Many source addresses: closed connections keep their ports for a minute.
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001 + 1 + opened++ % 250)};
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(s->fd, (void *)&from, sizeof from) || connect(s->fd, (void *)&to, sizeof to)) die("connect", strerror(errno));
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    s->state = GREETING; s->awaited = 1; s->left = s->have = 0;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = s};
    epoll_ctl(ep, EPOLL_CTL_ADD, s->fd, &ev);
}
static void next_message(struct session *s) {
    if (to_start > 0) { to_start--; say(s, envelope, sizeof envelope - 1, 3, ENVELOPE); }
    else say(s, "QUIT\r\n", 6, 1, BYE);
}
// All replies awaited have come.
static void advance(struct session *s) {
    switch (s->state) {
    case GREETING: say(s, "EHLO client.test\r\n", 18, 1, HELLO); break;
    case HELLO: next_message(s); break;
    case ENVELOPE: say(s, message, message_size, 1, FINAL); break;
    case FINAL:
        to_finish--;
        if (keep) next_message(s); else say(s, "QUIT\r\n", 6, 1, BYE);
        break;
    case BYE:
        close(s->fd); s->fd = -1;
        if (to_start > 0) open_session(s);
        break;
    }
}
static void receive(struct session *s) {
    while (s->fd >= 0) {
        ssize_t n = read(s->fd, s->in + s->have, sizeof s->in - s->have);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) die("read", n ? strerror(errno) : "closed");
        s->have += n;
        char *p = s->in, *end = s->in + s->have, *nl;
        while (s->fd >= 0 && (nl = memchr(p, '\n', end - p))) {
            if (*p > '3') { *nl = 0; die("refused", p); }
            int last = nl - p > 3 && p[3] == ' ';
            p = nl + 1;
            if (last && --s->awaited == 0) advance(s);
        }
        if (s->fd < 0 || s->state == GREETING) return;
        s->have = end - p; memmove(s->in, p, s->have);
    }
}
int main(int c, char **v) {
    if (c != 6) die("usage", "load PORT BYTES SESSIONS new|kept MESSAGES");
    port = atoi(v[1]); size_t bytes = atol(v[2]); int sessions = atoi(v[3]);
    keep = !strcmp(v[4], "kept"); to_start = to_finish = atol(v[5]);
    static const char header[] = "From: bench@client.test\r\nTo: someone@example.net\r\nSubject: bench\r\n"
        "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <bench@client.test>\r\n\r\n";
    static const char line[] = "The quick brown fox jumps over the lazy dog, and so does this line of text.\r\n";
    message = malloc(bytes + 256);
    memcpy(message, header, message_size = sizeof header - 1);
    while (message_size + sizeof line + 2 < bytes) { memcpy(message + message_size, line, sizeof line - 1); message_size += sizeof line - 1; }
    memset(message + message_size, 'x', bytes - message_size - 2); message_size = bytes - 2;
    memcpy(message + message_size, "\r\n.\r\n", 5); message_size += 5;
    ep = epoll_create1(0);
    struct session *all = calloc(sessions, sizeof *all);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < sessions; i++) open_session(&all[i]);
    while (to_finish > 0) {
        struct epoll_event evs[64];
        int n = epoll_wait(ep, evs, 64, 30000);
        if (n == 0) die("wait", "nothing happened for 30 s");
        for (int i = 0; i < n; i++) {
            struct session *s = evs[i].data.ptr;
            if (s->fd >= 0 && evs[i].events & EPOLLOUT) push(s);
            if (s->fd >= 0) receive(s);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%.1f\n", atol(v[5]) / (b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9));
}
