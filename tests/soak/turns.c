/* Measures the turns of an event loop, from outside: put before the C library (LD_PRELOAD), it
 * stands between a program and epoll_wait(2).
 *
 * A turn is what a thread does between two looks for events: for so long nobody else of that
 * thread is heard. It is measured in the thread's own processor time, since how long a busy
 * machine lets it wait for a processor is not the program's doing. A thread that went to sleep
 * within a turn, for a lock or a disk, has used no processor time by that: such turns are measured
 * by the clock as well, waiting and all, to be looked at and not to be judged.
 *
 * The book is a file that TURNS names, shared by the threads, and read by whoever wants to know. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* As turns.rs reads it. */
struct book {
    _Atomic uint64_t turns;
    _Atomic uint64_t longest; /* ns of processor time */
    _Atomic uint64_t slept;   /* turns in which it went to sleep */
    _Atomic uint64_t longest_slept; /* ns of such a turn by the clock */
    _Atomic uint64_t late;    /* turns of more than the limit */
    uint64_t limit;           /* ns of processor time; written by turns.rs */
};

struct moment {
    uint64_t cpu;
    uint64_t clock;
    uint64_t sleeps;
};

static struct book *book;
static _Thread_local struct moment begun;
static _Thread_local int under_way;

__attribute__((constructor)) static void open_book(void)
{
    const char *path = getenv("TURNS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *pages = mmap(NULL, sizeof *book, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (pages != MAP_FAILED)
        book = pages;
    /* Of this program alone, and not of what it starts. */
    unsetenv("TURNS");
    unsetenv("LD_PRELOAD");
}

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static struct moment now(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (struct moment){
        .cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID),
        .clock = nanoseconds(CLOCK_MONOTONIC),
        .sleeps = (uint64_t)usage.ru_nvcsw,
    };
}

static void raise_to(_Atomic uint64_t *most, uint64_t value)
{
    uint64_t seen = atomic_load(most);
    while (value > seen && !atomic_compare_exchange_weak(most, &seen, value))
        ;
}

static void end_turn(void)
{
    struct moment ended = now();
    atomic_fetch_add(&book->turns, 1);
    raise_to(&book->longest, ended.cpu - begun.cpu);
    if (ended.cpu - begun.cpu >= book->limit)
        atomic_fetch_add(&book->late, 1);
    if (ended.sleeps == begun.sleeps)
        return;
    atomic_fetch_add(&book->slept, 1);
    raise_to(&book->longest_slept, ended.clock - begun.clock);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    if (!book)
        return epoll_pwait(epoll, events, most, timeout, NULL);
    if (under_way)
        end_turn();
    int ready = epoll_pwait(epoll, events, most, timeout, NULL);
    int error = errno;
    begun = now();
    under_way = 1;
    errno = error;
    return ready;
}
