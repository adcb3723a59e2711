/* The program every lab guest runs as its first process (see docs/lab.md).
 *
 * It counts ten times a second, writes each count durably to /dev/vda before it calls it durable, and answers on
 * UDP and HTTP with what it knows. The counter goes on where the disk left it, so a guest that was live-migrated,
 * or archived and restored, can be told from outside to be the same one: a live migration keeps the boot id, a cold
 * one changes it, and neither ever lets the counter go back.
 *
 * Kernel command line: lifeboat.name=NAME lifeboat.port=N
 *   lifeboat.dirty=MIB_PER_SECOND lifeboat.dirty_set=MIB   rewrite that much memory at that rate (default: none)
 *
 * The disk begins with a ring of RING_SLOTS records of 512 bytes; sequence S is in slot S % RING_SLOTS. lab/disk_ring.py
 * reads the same layout.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <linux/input.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef GRND_INSECURE
#define GRND_INSECURE 4
#endif
#define RING_SLOTS 2048u
#define TICK_NS 100000000ll

struct record { /* little endian, one sector: a torn write can't make half a record */
    char magic[8];
    uint64_t sequence, boot_id, realtime_ns, longest_gap_ns;
    char name[32];
    uint8_t zero[436];
    uint32_t crc; /* CRC-32 (as zlib) of the 508 bytes before it */
};
_Static_assert(offsetof(struct record, crc) == 508 && sizeof(struct record) == 512, "one sector");

static const char MAGIC[8] = "LBRING01";
static char name[32] = "guest";
static uint64_t boot_id;
static atomic_ullong counter, durable, longest_gap_ns, disk_errors;
static atomic_int stopping;
static int disk = -1;
static struct record *sector; /* aligned for O_DIRECT */

static int64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static uint32_t crc32(const void *data, size_t size) {
    uint32_t crc = ~0u;
    for (const uint8_t *p = data; size--; p++) {
        crc ^= *p;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0xEDB88320u & -(crc & 1));
    }
    return ~crc;
}

static long option(const char *line, const char *key, long fallback, char *text, size_t size) {
    const char *at = strstr(line, key);
    if (!at) return fallback;
    at += strlen(key);
    if (text) snprintf(text, size, "%.*s", (int)strcspn(at, " \n"), at);
    return atol(at);
}

/* Find the last count on the disk; 0 on an empty one. */
static uint64_t recover(void) {
    uint64_t last = 0;
    disk = open("/dev/vda", O_RDWR | O_DIRECT | O_DSYNC);
    size_t size = RING_SLOTS * sizeof *sector;
    struct record *ring = aligned_alloc(4096, size);
    sector = aligned_alloc(4096, 4096);
    if (disk < 0 || !ring || !sector) return 0;
    for (size_t have = 0; have < size;) {
        ssize_t got = pread(disk, (char *)ring + have, size - have, have);
        if (got <= 0) break;
        have += got;
    }
    for (unsigned slot = 0; slot < RING_SLOTS; slot++)
        if (!memcmp(ring[slot].magic, MAGIC, 8) && ring[slot].crc == crc32(&ring[slot], 508) &&
            ring[slot].sequence > last)
            last = ring[slot].sequence;
    free(ring);
    return last;
}

static void write_durably(uint64_t sequence) {
    memset(sector, 0, sizeof *sector);
    memcpy(sector->magic, MAGIC, 8);
    sector->sequence = sequence;
    sector->boot_id = boot_id;
    sector->realtime_ns = now_ns(CLOCK_REALTIME);
    sector->longest_gap_ns = longest_gap_ns;
    memcpy(sector->name, name, sizeof name);
    sector->crc = crc32(sector, 508);
    if (pwrite(disk, sector, 512, (off_t)(sequence % RING_SLOTS) * 512) == 512)
        durable = sequence;
    else
        disk_errors++;
}

static void *power_button(void *unused) {
    struct pollfd fds[16];
    int count = 0;
    glob_t found;
    if (glob("/dev/input/event*", 0, NULL, &found)) return unused;
    for (size_t i = 0; i < found.gl_pathc && count < 16; i++)
        fds[count++] = (struct pollfd){.fd = open(found.gl_pathv[i], O_RDONLY), .events = POLLIN};
    while (poll(fds, count, -1) > 0)
        for (int i = 0; i < count; i++) {
            struct input_event event;
            if (fds[i].revents & POLLIN && read(fds[i].fd, &event, sizeof event) == sizeof event &&
                event.type == EV_KEY && event.code == KEY_POWER && event.value == 1)
                stopping = 1;
        }
    return unused;
}

static long dirty_rate, dirty_set;

static void *dirty_memory(void *unused) {
    size_t size = (size_t)dirty_set << 20, page = 4096, at = 0;
    size_t step = ((size_t)dirty_rate << 20) / 50; /* fifty bursts a second */
    char *memory = malloc(size);
    uint64_t value = boot_id;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (memory && !stopping) {
        for (size_t done = 0; done < step; done += page, at = (at + page) % size)
            *(volatile uint64_t *)(memory + at) = value++;
        next.tv_nsec += 20000000;
        if (next.tv_nsec >= 1000000000) next.tv_sec++, next.tv_nsec -= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    return unused;
}

/* One JSON object. `echo` comes back as it was sent, so that a prober can match answers to requests. */
static int answer(char *out, size_t size, const char *echo, size_t echo_size) {
    char safe[65];
    size_t n = 0;
    while (n < echo_size && n < 64 && (echo[n] >= '0') && (echo[n] <= 'z') && echo[n] != '\\') safe[n] = echo[n], n++;
    safe[n] = 0;
    return snprintf(out, size,
                    "{\"name\":\"%s\",\"boot_id\":\"%016" PRIx64 "\",\"counter\":%llu,\"durable\":%llu,"
                    "\"longest_gap_ms\":%llu,\"disk_errors\":%llu,\"uptime_ms\":%" PRId64 ",\"echo\":\"%s\"}\n",
                    name, boot_id, (unsigned long long)counter, (unsigned long long)durable,
                    (unsigned long long)longest_gap_ns / 1000000, (unsigned long long)disk_errors,
                    now_ns(CLOCK_MONOTONIC) / 1000000, safe);
}

static int listening(int type, int port) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, type, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&here, sizeof here)) return -1;
    if (type == SOCK_STREAM) listen(fd, 16);
    return fd;
}

static void *serve(void *argument) {
    int port = *(int *)argument;
    struct pollfd fds[2] = {{.fd = listening(SOCK_DGRAM, port), .events = POLLIN},
                            {.fd = listening(SOCK_STREAM, port), .events = POLLIN}};
    char request[1024], body[512], reply[768];
    while (poll(fds, 2, -1) > 0) {
        if (fds[0].revents & POLLIN) {
            struct sockaddr_in from;
            socklen_t length = sizeof from;
            ssize_t got = recvfrom(fds[0].fd, request, sizeof request, 0, (struct sockaddr *)&from, &length);
            if (got >= 0)
                sendto(fds[0].fd, body, answer(body, sizeof body, request, got), 0, (struct sockaddr *)&from, length);
        }
        if (fds[1].revents & POLLIN) {
            int client = accept(fds[1].fd, NULL, NULL);
            struct timeval patience = {.tv_usec = 200000}; /* a silent client must not stop the UDP answers for long */
            setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            if (recv(client, request, sizeof request, 0) > 0) {
                int size = answer(body, sizeof body, "", 0);
                int total = snprintf(reply, sizeof reply,
                                     "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                                     size, body);
                send(client, reply, total, MSG_NOSIGNAL);
            }
            shutdown(client, SHUT_WR);
            close(client);
        }
    }
    return NULL;
}

static void start(void *(*body)(void *), void *argument) {
    pthread_t thread;
    pthread_create(&thread, NULL, body, argument);
}

int main(void) {
    char line[4096] = "";
    int cmdline = open("/proc/cmdline", O_RDONLY);
    if (cmdline >= 0 && read(cmdline, line, sizeof line - 1) < 0) perror("cmdline");
    memset(name, 0, sizeof name); /* it is written to disk whole */
    option(line, "lifeboat.name=", 0, name, sizeof name);
    int port = option(line, "lifeboat.port=", 7777, NULL, 0);
    dirty_rate = option(line, "lifeboat.dirty=", 0, NULL, 0);
    dirty_set = option(line, "lifeboat.dirty_set=", 16, NULL, 0);

    /* not for secrets: it must only differ from boot to boot, also on a guest with no entropy yet */
    if (getrandom(&boot_id, sizeof boot_id, GRND_INSECURE) < 0) perror("getrandom");
    boot_id ^= (uint64_t)now_ns(CLOCK_REALTIME) * 0x9E3779B97F4A7C15ull ^ crc32(name, sizeof name);

    counter = durable = recover();
    start(power_button, NULL);
    start(serve, &port);
    if (dirty_rate > 0 && dirty_set > 0) start(dirty_memory, NULL);
    printf("lifeboat guest %s: boot %016" PRIx64 ", counter goes on from %llu\n", name, boot_id,
           (unsigned long long)counter);
    fflush(stdout);

    int64_t last = now_ns(CLOCK_MONOTONIC), next = last;
    while (!stopping) {
        next += TICK_NS;
        int64_t now = now_ns(CLOCK_MONOTONIC);
        if (next < now) next = now; /* late: carry on, don't catch up in a burst */
        struct timespec until = {next / 1000000000, next % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        now = now_ns(CLOCK_MONOTONIC);
        if ((uint64_t)(now - last) > longest_gap_ns) longest_gap_ns = now - last;
        last = now;
        write_durably(++counter);
    }
    write_durably(++counter);
    printf("lifeboat guest %s: power button, stopping at %llu\n", name, (unsigned long long)counter);
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}
