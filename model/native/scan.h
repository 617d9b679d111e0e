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

#define LANES 8 /* items in a group */
#define CHUNK 4 /* dimensions that lie side by side for each item of a group */

/* Into its caller, so that it is compiled for the caller's processor. */
#define INLINE __attribute__((always_inline, unused)) static inline

typedef struct {
    int32_t score;
    int32_t item;
} Found;

typedef struct {
    const int8_t *items;  /* [groups][dims / CHUNK][LANES][CHUNK] */
    const int32_t *bias;  /* [groups * LANES]: takes the queries' offset out again */
    const uint8_t *query; /* [rows][dims], 0 .. 127 */
    const float *slope;   /* [rows]: score * slope + shift is a float's bits, about exp(logit) */
    float shift;
    int64_t groups;
    int64_t dims;
    int64_t rows;
    int64_t block;    /* groups in a block */
    int64_t keep;     /* best rough scores to return */
    int32_t *scores;  /* [rows][groups * LANES] scratch */
    int32_t *maxima;  /* [rows][blocks] scratch */
    Found *list;      /* [groups * LANES] scratch */
    Found *found;     /* [rows][keep], in no order */
    float *sums;      /* [rows][LANES] of exp, by lane */
} Scan;

INLINE int64_t blocks_of(const Scan *s)
{
    return (s->groups + s->block - 1) / s->block;
}

INLINE int is_better(Found a, Found b)
{
    return a.score > b.score || (a.score == b.score && a.item < b.item);
}

/* Bring the best `keep` of `count` to the front, in any order (Hoare's selection). */
INLINE void select_best(Found *found, int64_t count, int64_t keep)
{
    int64_t low = 0, high = count - 1;
    while (low < high) {
        Found pivot = found[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (is_better(found[i], pivot)) i++;
            while (is_better(pivot, found[j])) j--;
            if (i <= j) {
                Found swapped = found[i];
                found[i++] = found[j];
                found[j--] = swapped;
            }
        }
        if (keep - 1 <= j) high = j;
        else if (keep - 1 >= i) low = i;
        else return;
    }
}

/* The largest limit that `keep` of the values reach, by halving: without a branch per value. */
INLINE int32_t limit_of(const int32_t *values, int64_t count, int64_t keep)
{
    int64_t low = INT32_MIN, high = INT32_MAX;
    if (count < keep) return INT32_MIN;
    while (low < high) {
        int32_t middle = (int32_t)(low + (high - low + 1) / 2);
        int64_t reached = 0;
        for (int64_t i = 0; i < count; i++) reached += values[i] >= middle;
        if (reached >= keep) low = middle;
        else high = (int64_t)middle - 1;
    }
    return (int32_t)low;
}

/* Of the items of a group, by bits: those whose score reaches the limit. */
typedef uint32_t Reach(const int32_t *scores, int32_t limit);

/* The best `keep` rough scores of a row. */
INLINE void choose(const Scan *s, int64_t row, Reach reach_of)
{
    const int64_t blocks = blocks_of(s);
    const int32_t *maxima = s->maxima + row * blocks, *scores = s->scores + row * s->groups * LANES;
    const int32_t limit = limit_of(maxima, blocks, s->keep);
    int64_t count = 0;
    for (int64_t b = 0; b < blocks; b++) {
        if (maxima[b] < limit) continue;
        int64_t end = (b + 1) * s->block < s->groups ? (b + 1) * s->block : s->groups;
        for (int64_t group = b * s->block; group < end; group++) {
            const int32_t *lanes = scores + group * LANES;
            for (uint32_t reach = reach_of(lanes, limit); reach; reach &= reach - 1) {
                const int lane = __builtin_ctz(reach);
                s->list[count++] = (Found){lanes[lane], (int32_t)(group * LANES + lane)};
            }
        }
    }
    select_best(s->list, count, s->keep);
    memcpy(s->found + row * s->keep, s->list, sizeof(Found) * (size_t)s->keep);
}

/* Eight running sums in one. */
INLINE float summed(const float *lanes)
{
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/* What differs by processor; the results do not. */
typedef struct {
    void (*scan)(const Scan *s, int64_t first, int64_t last); /* groups first .. last-1, all rows */
    void (*choose)(const Scan *s, int64_t row);
    float (*dot)(const float *a, const float *b, int64_t width);
} Form;

#if HAS_X86_FORMS
extern const Form AVX2_FORM, VNNI_FORM;
#endif

#endif
