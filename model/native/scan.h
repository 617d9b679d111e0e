/* What the forms of the scan share; see scan.c. */

#ifndef CLICKAHEAD_SCAN_H
#define CLICKAHEAD_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_X86_FORMS 1
#else
#define HAS_X86_FORMS 0
#endif

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define LANES 8 /* items in a group */
#define MAX_DIMS 256
#define CHUNK 4 /* dimensions that lie side by side for each item of a group */
#define DOTS 4  /* exact products at once */

/* Into its caller, so that it is compiled for the caller's processor. */
#define INLINE __attribute__((always_inline, unused)) static inline

/* A row that scans a block of groups, and which of its blocks that is. */
typedef struct {
    int32_t row;
    int32_t slot;
} Visit;

typedef struct {
    const int8_t *items;   /* [groups][dims / CHUNK][LANES][CHUNK] */
    const int32_t *bias;   /* [groups * LANES]: takes the queries' offset out again */
    const float *shift;    /* [groups * LANES], or [LANES] for all groups */
    const uint8_t *query;  /* [rows][dims], 0 .. 127 */
    const float *slope;    /* [rows]: score * slope + shift is a float's bits, about exp(logit) */
    const int32_t *chosen; /* [rows][taken] blocks of each row, rising; NULL: all of them */
    int64_t own_shifts;    /* whether each group has a shift of its own */
    int64_t groups;
    int64_t dims;
    int64_t rows;
    int64_t block;       /* groups in a block */
    int64_t taken;       /* blocks that a row scans */
    int64_t keep;        /* best rough scores to return */
    int32_t *scores;     /* [rows][taken * block * LANES] scratch */
    int32_t *maxima;     /* [rows][taken][LANES] scratch */
    int32_t *list;       /* [3][taken * block * LANES] scratch */
    Visit *visits;       /* [rows * taken] scratch */
    int32_t *starts;     /* [blocks + 1] scratch */
    int32_t *found;      /* [rows][keep] places of the best, rising */
    float *sums;         /* [rows][LANES] of exp, by lane */
    int64_t *found_sums; /* [rows] of the exps of the found, in units of 2 ** -40 */
} Scan;

INLINE int64_t blocks_of(const Scan *s)
{
    return (s->groups + s->block - 1) / s->block;
}

/* Scores that a row has room for. */
INLINE int64_t width_of(const Scan *s)
{
    return s->taken * s->block * LANES;
}

INLINE const float *shift_of(const Scan *s, int64_t group)
{
    return s->shift + (s->own_shifts ? group * LANES : 0);
}

/* Where a visit's scores of a group lie. */
INLINE int32_t *scores_of(const Scan *s, Visit visit, int64_t group)
{
    const int64_t inside = group % s->block;
    return s->scores + visit.row * width_of(s) + (visit.slot * s->block + inside) * LANES;
}

INLINE int32_t *maxima_of(const Scan *s, Visit visit)
{
    return s->maxima + (visit.row * s->taken + visit.slot) * LANES;
}

/* The largest limit that `keep` of the values reach, by halving: without a branch per value. */
INLINE int32_t limit_of(const int32_t *values, int64_t count, int64_t keep)
{
    int32_t low = INT32_MAX, high = INT32_MIN;
    if (count < keep) return INT32_MIN;
    for (int64_t i = 0; i < count; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    while (low < high) {
        const int32_t middle = (int32_t)(low + ((int64_t)high - low + 1) / 2);
        int32_t reached = 0;
        for (int64_t i = 0; i < count; i++) reached += values[i] >= middle;
        if (reached >= keep) low = middle;
        else high = middle - 1;
    }
    return low;
}

/* Of the items of a group, by bits: those whose score reaches the limit. */
typedef uint32_t Reach(const int32_t *scores, int32_t limit);

/* A limit that at least `keep` of a row's scores reach, and few more: from the maxima of the lanes
   of each block, or of whole blocks where those are many. `maxima` has room for one a block. */
INLINE int32_t first_limit(const Scan *s, int64_t row, int32_t *maxima)
{
    const int32_t *lanes = s->maxima + row * s->taken * LANES;
    if (s->taken < 4 * s->keep) return limit_of(lanes, s->taken * LANES, s->keep);
    for (int64_t slot = 0; slot < s->taken; slot++) {
        int32_t largest = INT32_MIN;
        for (int64_t lane = 0; lane < LANES; lane++)
            largest = lanes[slot * LANES + lane] > largest ? lanes[slot * LANES + lane] : largest;
        maxima[slot] = largest;
    }
    return limit_of(maxima, s->taken, s->keep);
}

/* Scores that reach the limit into `scores`, their places into `places`, rising; their count. */
INLINE int64_t reaching(const Scan *s, int64_t row, int32_t limit, int32_t *scores,
                        int32_t *places, Reach reach_of)
{
    int64_t count = 0;
    for (int64_t slot = 0; slot < s->taken; slot++) {
        const Visit visit = {(int32_t)row, (int32_t)slot};
        const int64_t block = s->chosen ? s->chosen[row * s->taken + slot] : slot;
        const int64_t first = block * s->block, end = first + s->block;
        if (!reach_of(maxima_of(s, visit), limit)) continue;
        for (int64_t group = first; group < end && group < s->groups; group++) {
            const int32_t *lanes = scores_of(s, visit, group);
            for (uint32_t reach = reach_of(lanes, limit); reach; reach &= reach - 1) {
                const int lane = __builtin_ctz(reach);
                scores[count] = lanes[lane];
                places[count++] = (int32_t)(group * LANES + lane);
            }
        }
    }
    return count;
}

/* The best `keep` rough scores of a row, ties to the lower place; the list's front has them. */
INLINE void choose(const Scan *s, int64_t row, Reach reach_of)
{
    int32_t *scores = s->list, *places = scores + width_of(s), *found = s->found + row * s->keep;
    const int32_t low = first_limit(s, row, places + width_of(s));
    const int64_t count = reaching(s, row, low, scores, places, reach_of);
    const int32_t limit = limit_of(scores, count, s->keep);
    int64_t ties = s->keep, filled = 0;
    for (int64_t i = 0; i < count; i++) ties -= scores[i] > limit;
    for (int64_t i = 0; i < count && filled < s->keep; i++) {
        if (scores[i] < limit || (scores[i] == limit && ties-- <= 0)) continue;
        scores[filled] = scores[i];
        found[filled++] = places[i];
    }
}

/* Eight running sums in one. */
INLINE float summed(const float *lanes)
{
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/* What differs by processor; the results do not. */
typedef struct {
    /* Groups first .. last-1 of one block for all its visits. */
    void (*scan)(const Scan *s, const Visit *visits, int64_t count, int64_t first, int64_t last);
    void (*choose)(const Scan *s, int64_t row);
    /* Of DOTS vectors with one query; one alone would wait for its own sums. */
    void (*dots)(const float *const *vectors, const float *query, int64_t width, float *logits);
} Form;

void scan_rough(const Scan *s, int32_t form);
void scan_exact(const Scan *s, const float *vectors, const int32_t *codes, const float *queries,
                int64_t width, int64_t top, int32_t form, int32_t *top_items, float *top_logits,
                float *logits);

#if HAS_X86_FORMS
extern const Form AVX2_FORM, VNNI_FORM;
#endif

#endif
