/*
 * Calibration scores in rank order, for stream_app/core/calibration.py and calm.py, whose forms in
 * Python give the same bits.
 *
 * `ranked` holds the scores of `slots` in rising order. Which slot a score replaces, if any, follows
 * from 64 mixed bits of its offset, so that nothing here depends on how events are batched.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "splitmix.h"

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define BLOCK 256
#define LEARN_EVERY 8

enum { STOPS = 1, UNJUDGED = 2 };                  /* marks of an event */
enum { NORMAL = 0, ANOMALOUS = 1, UNCALIBRATED = 2 }; /* states of a verdict */

typedef struct {
    double *slots;
    double *ranked;
    uint8_t *changed; /* by block of slots */
    int64_t held;     /* scores there are */
    int64_t size;     /* scores there may be */
} Reservoir;

EXPORT int64_t reservoir_version(void) { return 1; }

/* How many scores are below one. */
static int64_t below(const Reservoir *r, double score)
{
    int64_t low = 0, high = r->held;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (r->ranked[middle] < score)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many scores are not above one. */
static int64_t up_to(const Reservoir *r, double score)
{
    int64_t low = 0, high = r->held;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (score < r->ranked[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void move(double *ranked, int64_t to, int64_t from, int64_t count)
{
    memmove(ranked + to, ranked + from, (size_t)count * sizeof *ranked);
}

EXPORT double reservoir_p_value(const Reservoir *r, double score)
{
    return (double)(1 + r->held - below(r, score)) / (double)(r->held + 1);
}

EXPORT void reservoir_learn(Reservoir *r, double score, uint64_t seed)
{
    int64_t place = up_to(r, score), slot = r->held;
    if (r->held < r->size) {
        move(r->ranked, place + 1, place, r->held - place);
        r->held++;
    } else {
        uint64_t bits = mix(seed);
        int64_t gone;
        if (bits % LEARN_EVERY)
            return;
        slot = (int64_t)((bits >> 8) % (uint64_t)r->size);
        gone = below(r, r->slots[slot]);
        if (place > gone) {
            place--;
            move(r->ranked, gone, gone + 1, place - gone);
        } else {
            move(r->ranked, place + 1, place, gone - place);
        }
    }
    r->ranked[place] = score;
    r->slots[slot] = score;
    r->changed[slot / BLOCK] = 1;
}

/*
 * Judges events from `first` on, as long as nothing is to be said of them but their verdicts; the
 * number of the first event that is left: one that is marked to stop, one whose p-value is not above
 * the rate, or `end`.
 */
EXPORT int64_t reservoir_calm(Reservoir *r, const double *scores, const int64_t *offsets,
                              const uint8_t *marks, int64_t first, int64_t end, double rate,
                              int64_t needed, double *p_values, uint8_t *states)
{
    int64_t k;
    for (k = first; k < end; k++) {
        double p_value = NAN;
        if (marks[k] & STOPS)
            break;
        states[k] = UNCALIBRATED;
        if (!(marks[k] & UNJUDGED)) {
            if (r->held >= needed) {
                p_value = reservoir_p_value(r, scores[k]);
                if (p_value <= rate)
                    break;
                states[k] = NORMAL;
            }
            reservoir_learn(r, scores[k], (uint64_t)offsets[k]);
        }
        p_values[k] = p_value;
    }
    return k;
}
