/*
 * Progress of a stage on stderr. The rate is taken since the first report of this process, so that a resumed stage
 * shows its real speed.
 */
#include "pipeline/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLAIN_EVERY_S 10.0
#define LIVE_EVERY_S 0.1

void bk__meter_start(struct bk_meter *m, const char *title)
{
    memset(m, 0, sizeof *m);
    snprintf(m->title, sizeof m->title, "%s", title);
    m->live = isatty(STDERR_FILENO) && bk_log_get_level() >= BK_LOG_INFO;
    m->started = m->shown_at = bk_now();
    m->first_at = -1;
}

static void format_duration(double s, char buf[32])
{
    long t = s < 0 || s > 1e8 ? 0 : (long)(s + 0.5);
    if (t >= 3600)
        snprintf(buf, 32, "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
    else
        snprintf(buf, 32, "%ld:%02ld", t / 60, t % 60);
}

void bk__meter_update(void *meter, double done, double total, const char *unit, const char *note)
{
    struct bk_meter *m = meter;
    double now = bk_now(), rate;
    char line[512], eta[32] = "", left[48] = "";

    if (m->first_at < 0) {
        m->first_at = now;
        m->first_done = done;
    }
    if (now - m->shown_at < (m->live ? LIVE_EVERY_S : PLAIN_EVERY_S))
        return;
    m->shown_at = now;
    rate = now > m->first_at ? (done - m->first_done) / (now - m->first_at) : 0;
    if (rate > 0 && total > done) {
        format_duration((total - done) / rate, eta);
        snprintf(left, sizeof left, ", %.3g/s, ETA %s", rate, eta);
    }
    if (total > 0)
        snprintf(line, sizeof line, "%s: %.0f of %.0f %s (%.0f %%)%s%s%.100s", m->title, done, total, unit,
                 100 * done / total, left, note ? ", " : "", note ? note : "");
    else
        snprintf(line, sizeof line, "%s: %.0f %s%s%.100s", m->title, done, unit, note ? ", " : "", note ? note : "");
    if (m->live) {
        fprintf(stderr, "\r\033[K%.200s", line);
        fflush(stderr);
        m->drawn = true;
    } else {
        bk_log(BK_LOG_INFO, "%s", line);
    }
}

void bk__meter_stop(struct bk_meter *m)
{
    if (m->drawn)
        fprintf(stderr, "\r\033[K");
    m->drawn = false;
}
