/*
 * The scan over all items, for model/native_scan.py, whose numpy form gives the same bits.
 *
 * Rough scores come from 7-bit integers along the first principal directions of the items; the best
 * of them are scored again in float32. Which are best is known from the maxima of blocks of items:
 * the `keep`-th largest maximum has at least `keep` items at or above it, and few more. Sums that numpy must repeat are exact (integers), or taken in
 * one order (eight float lanes over the groups, then lane by lane). Compile without contraction into
 * fused multiply-adds: -ffp-contract=off.
 */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_AVX2_PATH 1
#else
#define HAS_AVX2_PATH 0
#endif

#define LANES 8         /* items in a group */
#define CHUNK 4         /* dimensions that lie side by side for each item of a group */
#define TILE_BYTES 16384 /* of items: they stay in the first cache while all rows pass over */
#define MAX_CHUNKS 64

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* Into its caller, so that it is compiled for the caller's processor. */
#define INLINE __attribute__((always_inline)) static inline

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

static int64_t blocks_of(const Scan *s)
{
    return (s->groups + s->block - 1) / s->block;
}

static int is_better(Found a, Found b)
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

INLINE void choose(const Scan *s, int64_t row)
{
    const int64_t blocks = blocks_of(s), width = s->groups * LANES;
    const int32_t *maxima = s->maxima + row * blocks, *scores = s->scores + row * width;
    const int32_t limit = limit_of(maxima, blocks, s->keep);
    int64_t count = 0;
    for (int64_t b = 0; b < blocks; b++) {
        if (maxima[b] < limit) continue;
        int64_t first = b * s->block * LANES, last = first + s->block * LANES;
        if (last > width) last = width;
        for (int64_t item = first; item < last; item++) {
            Found one = {scores[item], (int32_t)item};
            s->list[count] = one;
            count += scores[item] >= limit;
        }
    }
    select_best(s->list, count, s->keep);
    memcpy(s->found + row * s->keep, s->list, sizeof(Found) * (size_t)s->keep);
}

static float rough_exp(int32_t score, float slope, float shift)
{
    float value = (float)score * slope, result;
    int32_t bits;
    value = value + shift;
    bits = (int32_t)lrintf(value > 0.0f ? value : 0.0f);
    memcpy(&result, &bits, sizeof result);
    return result;
}

static void scan_plain(const Scan *s, int64_t row, int64_t first, int64_t last)
{
    const uint8_t *query = s->query + row * s->dims;
    float *sums = s->sums + row * LANES;
    for (int64_t group = first; group < last; group++) {
        const int8_t *items = s->items + group * LANES * s->dims;
        int32_t *maximum = s->maxima + row * blocks_of(s) + group / s->block;
        for (int64_t lane = 0; lane < LANES; lane++) {
            int32_t score = s->bias[group * LANES + lane];
            for (int64_t d = 0; d < s->dims; d++)
                score += query[d] * items[d / CHUNK * LANES * CHUNK + lane * CHUNK + d % CHUNK];
            sums[lane] += rough_exp(score, s->slope[row], s->shift);
            s->scores[(row * s->groups + group) * LANES + lane] = score;
            if (score > *maximum) *maximum = score;
        }
    }
}

#if HAS_AVX2_PATH
#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

/* The compiler would load each operand anew for each product, and loads are what is scarce. */
#define IN_REGISTERS(first, second) __asm__("" : "+x"(first), "+x"(second))

AVX2_INLINE __m256 add_exp(__m256 sums, __m256i score, __m256 slope, __m256 shift)
{
    __m256 bits = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(score), slope), shift);
    bits = _mm256_max_ps(bits, _mm256_setzero_ps());
    return _mm256_add_ps(sums, _mm256_castsi256_ps(_mm256_cvtps_epi32(bits)));
}

AVX2_INLINE int32_t largest_of(__m256i values)
{
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    return _mm_cvtsi128_si32(four);
}

/* Two chunks: two products of 127 * 63 and two of those again fit 16 bits. */
AVX2_INLINE __m256i add_pair(__m256i score, __m256i query0, __m256i query1, __m256i items0,
                             __m256i items1)
{
    __m256i both = _mm256_add_epi16(_mm256_maddubs_epi16(query0, items0),
                                    _mm256_maddubs_epi16(query1, items1));
    return _mm256_add_epi32(score, _mm256_madd_epi16(both, _mm256_set1_epi16(1)));
}

/* `count` (1 or 2) rows over some groups, two of them at a time: each load serves two products. */
AVX2_INLINE void scan_rows_avx2(const Scan *s, int64_t row, int64_t first, int64_t last,
                                const int count)
{
    const int64_t chunks = s->dims / CHUNK, stride = s->dims * LANES, blocks = blocks_of(s);
    __m256i query[2][MAX_CHUNKS];
    __m256 sums[2], slope[2];
    const __m256 shift = _mm256_set1_ps(s->shift);
    for (int r = 0; r < count; r++) {
        sums[r] = _mm256_loadu_ps(s->sums + (row + r) * LANES);
        slope[r] = _mm256_set1_ps(s->slope[row + r]);
        for (int64_t c = 0; c < chunks; c++) {
            int32_t four;
            memcpy(&four, s->query + (row + r) * s->dims + c * CHUNK, CHUNK);
            query[r][c] = _mm256_set1_epi32(four);
        }
    }
    for (int64_t start = first; start < last; start += s->block) {
        const int64_t end = start + s->block < last ? start + s->block : last;
        __m256i largest[2] = {_mm256_set1_epi32(INT32_MIN), _mm256_set1_epi32(INT32_MIN)};
        for (int64_t group = start; group < end; group += 2) {
            const int64_t next = group + 1 < end ? group + 1 : group;
            const __m256i *a = (const __m256i *)(s->items + group * stride);
            const __m256i *b = (const __m256i *)(s->items + next * stride);
            const __m256i bias_a = _mm256_loadu_si256((const __m256i *)(s->bias + group * LANES));
            const __m256i bias_b = _mm256_loadu_si256((const __m256i *)(s->bias + next * LANES));
            __m256i score_a[2] = {bias_a, bias_a}, score_b[2] = {bias_b, bias_b};
            for (int64_t c = 0; c < chunks; c += 2) {
                __m256i a0 = _mm256_loadu_si256(a + c), a1 = _mm256_loadu_si256(a + c + 1);
                __m256i b0 = _mm256_loadu_si256(b + c), b1 = _mm256_loadu_si256(b + c + 1);
                IN_REGISTERS(a0, a1);
                IN_REGISTERS(b0, b1);
                for (int r = 0; r < count; r++) {
                    __m256i q0 = query[r][c], q1 = query[r][c + 1];
                    IN_REGISTERS(q0, q1);
                    score_a[r] = add_pair(score_a[r], q0, q1, a0, a1);
                    score_b[r] = add_pair(score_b[r], q0, q1, b0, b1);
                }
            }
            for (int r = 0; r < count; r++) {
                int32_t *scores = s->scores + (row + r) * s->groups * LANES;
                _mm256_storeu_si256((__m256i *)(scores + group * LANES), score_a[r]);
                _mm256_storeu_si256((__m256i *)(scores + next * LANES), score_b[r]);
                largest[r] = _mm256_max_epi32(largest[r], _mm256_max_epi32(score_a[r], score_b[r]));
                sums[r] = add_exp(sums[r], score_a[r], slope[r], shift);
                if (next != group) sums[r] = add_exp(sums[r], score_b[r], slope[r], shift);
            }
        }
        for (int r = 0; r < count; r++)
            s->maxima[(row + r) * blocks + start / s->block] = largest_of(largest[r]);
    }
    for (int r = 0; r < count; r++) _mm256_storeu_ps(s->sums + (row + r) * LANES, sums[r]);
}

AVX2 static void scan_avx2(const Scan *s, int64_t first, int64_t last)
{
    int64_t row = 0;
    for (; row + 1 < s->rows; row += 2) scan_rows_avx2(s, row, first, last, 2);
    if (row < s->rows) scan_rows_avx2(s, row, first, last, 1);
}

AVX2 static void choose_avx2(const Scan *s, int64_t row)
{
    choose(s, row);
}
#endif

/* Of this interface; model/native_scan.py takes no other one. */
EXPORT int32_t scan_version(void)
{
    return 1;
}

/* Whether the vectors of this processor are used. */
EXPORT int32_t scan_is_wide(void)
{
#if HAS_AVX2_PATH
    return __builtin_cpu_supports("avx2") != 0;
#else
    return 0;
#endif
}

/* Rough scores of all rows: the best `keep` of each into `found`, and the sums of exp. */
EXPORT void scan_rough(const Scan *s, int32_t wide)
{
    const int64_t bytes = s->dims * LANES * s->block, blocks = blocks_of(s);
    const int64_t tile = s->block * (bytes < TILE_BYTES ? TILE_BYTES / bytes : 1);
    memset(s->sums, 0, sizeof(float) * LANES * (size_t)s->rows);
    for (int64_t i = 0; i < s->rows * blocks; i++) s->maxima[i] = INT32_MIN;
    for (int64_t first = 0; first < s->groups; first += tile) {
        int64_t last = first + tile < s->groups ? first + tile : s->groups;
#if HAS_AVX2_PATH
        if (wide) {
            scan_avx2(s, first, last);
            continue;
        }
#endif
        for (int64_t row = 0; row < s->rows; row++) scan_plain(s, row, first, last);
    }
    for (int64_t row = 0; row < s->rows; row++) {
#if HAS_AVX2_PATH
        if (wide) {
            choose_avx2(s, row);
            continue;
        }
#endif
        choose(s, row);
    }
}

static float dot(const float *a, const float *b, int64_t width)
{
    float lanes[LANES] = {0};
    for (int64_t d = 0; d < width; d += LANES)
        for (int64_t lane = 0; lane < LANES; lane++) lanes[lane] += a[d + lane] * b[d + lane];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

#if HAS_AVX2_PATH
AVX2 static float dot_avx2(const float *a, const float *b, int64_t width)
{
    float lanes[LANES];
    __m256 sums = _mm256_setzero_ps();
    for (int64_t d = 0; d < width; d += LANES)
        sums = _mm256_add_ps(sums, _mm256_mul_ps(_mm256_loadu_ps(a + d), _mm256_loadu_ps(b + d)));
    _mm256_storeu_ps(lanes, sums);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}
#endif

/*
 * Exact logits of the found items: the best `top` of each row, ties to the lower code, and for the
 * caller's log-normaliser the logits of all `keep` of them and the sum of their rough exps in units
 * of 2 ** -40, which no order of summing changes.
 */
EXPORT void scan_exact(const Scan *s, const float *vectors, const float *queries, int64_t width,
                       int64_t top, int32_t wide, int32_t *top_items, float *top_logits,
                       float *logits, int64_t *rough_sums)
{
    for (int64_t row = 0; row < s->rows; row++) {
        const Found *found = s->found + row * s->keep;
        const float *query = queries + row * width;
        int32_t *best_items = top_items + row * top;
        float *best = top_logits + row * top;
        int64_t filled = 0, rough = 0;
        for (int64_t i = 0; i < s->keep; i++) {
            const float *vector = vectors + (int64_t)found[i].item * width;
            int32_t item = found[i].item;
            float logit;
#if HAS_AVX2_PATH
            if (i + CHUNK < s->keep) {
                const char *next = (const char *)(vectors + (int64_t)found[i + CHUNK].item * width);
                for (int64_t byte = 0; byte < width * (int64_t)sizeof(float); byte += 64)
                    __builtin_prefetch(next + byte);
            }
            logit = wide ? dot_avx2(vector, query, width) : dot(vector, query, width);
#else
            logit = dot(vector, query, width);
#endif
            logits[row * s->keep + i] = logit;
            rough += (int64_t)((double)rough_exp(found[i].score, s->slope[row], s->shift) *
                               1099511627776.0);
            if (filled == top && !(logit > best[top - 1] ||
                                   (logit == best[top - 1] && item < best_items[top - 1])))
                continue;
            int64_t place = filled < top ? filled++ : top - 1;
            while (place > 0 && (logit > best[place - 1] ||
                                 (logit == best[place - 1] && item < best_items[place - 1]))) {
                best[place] = best[place - 1];
                best_items[place] = best_items[place - 1];
                place--;
            }
            best[place] = logit;
            best_items[place] = item;
        }
        rough_sums[row] = rough;
    }
}
