/* log.c - the log callback and the clock. */
#include "core.h"

#include <pthread.h>
#include <time.h>

/* Set once before other threads use the library (base.h). */
static struct {
    pthread_mutex_t lock;
    sonde_log_function *function;
    void *context;
    sonde_log_level max;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER};

void sonde_log_set(sonde_log_function *function, void *context, sonde_log_level max)
{
    pthread_mutex_lock(&sink.lock);
    sink.function = function;
    sink.context = context;
    sink.max = max;
    pthread_mutex_unlock(&sink.lock);
}

static _Thread_local int muted;

void sonde_log_mute(bool mute)
{
    muted += mute ? 1 : -1;
}

void sonde_log(sonde_log_level level, const char *format, ...)
{
    if (muted > 0) return;
    pthread_mutex_lock(&sink.lock);
    if (sink.function && level <= sink.max) {
        char line[1024];
        va_list args;
        va_start(args, format);
        vsnprintf(line, sizeof line, format, args);
        va_end(args);
        sink.function(sink.context, level, line);
    }
    pthread_mutex_unlock(&sink.lock);
}

uint64_t sonde_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
