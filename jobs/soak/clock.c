/* The time of day of a process that preloads this is off by the seconds in the file $SOAK_CLOCK. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define OF_DAY 1000000000 /* no machine is up for as many seconds */

static int64_t off(void) {
    static const int64_t none = 0;
    static const volatile int64_t *seconds = NULL;
    if (seconds == NULL) {
        const char *name = getenv("SOAK_CLOCK");
        int file = name == NULL ? -1 : open(name, O_RDONLY);
        void *content = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
        seconds = content == MAP_FAILED ? &none : content;
        if (file >= 0) close(file);
    }
    return *seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    int failed = syscall(SYS_gettimeofday, now, zone);
    if (!failed) now->tv_sec += off();
    return failed;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now != NULL) *now = precise.tv_sec;
    return precise.tv_sec;
}

/* What waits until a time of day waits by the machine's own clock. */
int pthread_cond_timedwait(
    pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *end) {
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (wait == NULL) /* the newer of x86's two */
        wait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (wait == NULL) wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec until = *end;
    if (until.tv_sec > OF_DAY) until.tv_sec -= off();
    return wait(condition, mutex, &until);
}
