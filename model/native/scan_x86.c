/* The scan with the vectors of x86 processors: AVX2, and AVX-512's products of bytes. */

#include "scan.h"

#if HAS_X86_FORMS
#include <immintrin.h>

#define MAX_CHUNKS 64
#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE AVX2 INLINE

/* The compiler would load each operand anew for each product, and loads are what is scarce. */
#define IN_REGISTERS(first, second) __asm__("" : "+x"(first), "+x"(second))

AVX2_INLINE __m256 add_exp(__m256 sums, __m256i score, __m256 slope, __m256 shift)
{
    __m256 bits = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(score), slope), shift);
    bits = _mm256_max_ps(bits, _mm256_setzero_ps());
    return _mm256_add_ps(sums, _mm256_castsi256_ps(_mm256_cvtps_epi32(bits)));
}

/* Two chunks: two products of 127 * 63 and two of those again fit 16 bits. */
AVX2_INLINE __m256i add_pair(__m256i score, __m256i query0, __m256i query1, __m256i items0,
                             __m256i items1)
{
    __m256i both = _mm256_add_epi16(_mm256_maddubs_epi16(query0, items0),
                                    _mm256_maddubs_epi16(query1, items1));
    return _mm256_add_epi32(score, _mm256_madd_epi16(both, _mm256_set1_epi16(1)));
}

/* One or two visits over some groups, two of them at a time: each load serves two products. */
AVX2_INLINE void visits_avx2(const Scan *s, const Visit *visits, int64_t first, int64_t last,
                             const int count)
{
    const int64_t chunks = s->dims / CHUNK, stride = s->dims * LANES;
    __m256i query[2][MAX_CHUNKS], largest[2];
    __m256 sums[2], slope[2];
    for (int r = 0; r < count; r++) {
        const int32_t row = visits[r].row;
        sums[r] = _mm256_loadu_ps(s->sums + row * LANES);
        slope[r] = _mm256_set1_ps(s->slope[row]);
        largest[r] = _mm256_loadu_si256((const __m256i *)maxima_of(s, visits[r]));
        for (int64_t c = 0; c < chunks; c++) {
            int32_t four;
            memcpy(&four, s->query + row * s->dims + c * CHUNK, CHUNK);
            query[r][c] = _mm256_set1_epi32(four);
        }
    }
    for (int64_t group = first; group < last; group += 2) {
        const int64_t next = group + 1 < last ? group + 1 : group;
        const __m256i *a = (const __m256i *)(s->items + group * stride);
        const __m256i *b = (const __m256i *)(s->items + next * stride);
        const __m256i bias_a = _mm256_loadu_si256((const __m256i *)(s->bias + group * LANES));
        const __m256i bias_b = _mm256_loadu_si256((const __m256i *)(s->bias + next * LANES));
        const __m256 shift_a = _mm256_loadu_ps(shift_of(s, group));
        const __m256 shift_b = _mm256_loadu_ps(shift_of(s, next));
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
            _mm256_storeu_si256((__m256i *)scores_of(s, visits[r], group), score_a[r]);
            _mm256_storeu_si256((__m256i *)scores_of(s, visits[r], next), score_b[r]);
            largest[r] = _mm256_max_epi32(largest[r], _mm256_max_epi32(score_a[r], score_b[r]));
            sums[r] = add_exp(sums[r], score_a[r], slope[r], shift_a);
            if (next != group) sums[r] = add_exp(sums[r], score_b[r], slope[r], shift_b);
        }
    }
    for (int r = 0; r < count; r++) {
        _mm256_storeu_si256((__m256i *)maxima_of(s, visits[r]), largest[r]);
        _mm256_storeu_ps(s->sums + visits[r].row * LANES, sums[r]);
    }
}

AVX2 static void scan_avx2(const Scan *s, const Visit *visits, int64_t count, int64_t first,
                           int64_t last)
{
    int64_t i = 0;
    for (; i + 1 < count; i += 2) visits_avx2(s, visits + i, first, last, 2);
    if (i < count) visits_avx2(s, visits + i, first, last, 1);
}

#define VNNI __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni")))
#define VNNI_INLINE VNNI INLINE
#define MOST_ROWS 4
#define MOST_GROUPS 4

/* Rough scores of `groups` groups for `rows` queries, into `score`. */
VNNI_INLINE void products_vnni(const Scan *s, const uint8_t *const *query, int64_t group,
                               const int rows, const int groups,
                               __m256i score[MOST_ROWS][MOST_GROUPS])
{
    const int64_t stride = s->dims * LANES;
    const int8_t *items = s->items + group * stride;
    for (int g = 0; g < groups; g++) {
        const __m256i bias = _mm256_loadu_si256((const __m256i *)(s->bias + (group + g) * LANES));
        for (int r = 0; r < rows; r++) score[r][g] = bias;
    }
    for (int64_t d = 0; d < s->dims; d += CHUNK) {
        __m256i item[MOST_GROUPS];
        for (int g = 0; g < groups; g++)
            item[g] = _mm256_loadu_si256((const __m256i *)(items + g * stride + d * LANES));
        for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, query[r] + d, CHUNK);
            const __m256i asked = _mm256_set1_epi32(four);
            for (int g = 0; g < groups; g++)
                score[r][g] = _mm256_dpbusd_epi32(score[r][g], asked, item[g]);
        }
    }
}

/* Some visits of one block on their way over its groups. */
typedef struct {
    const uint8_t *query[MOST_ROWS];
    int32_t *scores[MOST_ROWS]; /* of the next group */
    __m256 sums[MOST_ROWS], slope[MOST_ROWS];
    __m256i largest[MOST_ROWS];
} Way;

VNNI_INLINE void groups_vnni(const Scan *s, Way *way, int64_t group, const int rows,
                             const int groups)
{
    __m256i score[MOST_ROWS][MOST_GROUPS];
    products_vnni(s, way->query, group, rows, groups, score);
    for (int g = 0; g < groups; g++) {
        const __m256 shift = _mm256_loadu_ps(shift_of(s, group + g));
        for (int r = 0; r < rows; r++) {
            _mm256_storeu_si256((__m256i *)(way->scores[r] + g * LANES), score[r][g]);
            way->largest[r] = _mm256_max_epi32(way->largest[r], score[r][g]);
            way->sums[r] = add_exp(way->sums[r], score[r][g], way->slope[r], shift);
        }
    }
    for (int r = 0; r < rows; r++) way->scores[r] += groups * LANES;
}

VNNI_INLINE void visits_vnni(const Scan *s, const Visit *visits, int64_t first, int64_t last,
                             const int rows)
{
    Way way;
    int64_t group = first;
    for (int r = 0; r < rows; r++) {
        const int32_t row = visits[r].row;
        way.query[r] = s->query + row * s->dims;
        way.scores[r] = scores_of(s, visits[r], first);
        way.sums[r] = _mm256_loadu_ps(s->sums + row * LANES);
        way.slope[r] = _mm256_set1_ps(s->slope[row]);
        way.largest[r] = _mm256_loadu_si256((const __m256i *)maxima_of(s, visits[r]));
    }
    for (; group + MOST_GROUPS <= last; group += MOST_GROUPS)
        groups_vnni(s, &way, group, rows, MOST_GROUPS);
    for (; group < last; group++) groups_vnni(s, &way, group, rows, 1);
    for (int r = 0; r < rows; r++) {
        _mm256_storeu_si256((__m256i *)maxima_of(s, visits[r]), way.largest[r]);
        _mm256_storeu_ps(s->sums + visits[r].row * LANES, way.sums[r]);
    }
}

VNNI static void scan_vnni(const Scan *s, const Visit *visits, int64_t count, int64_t first,
                           int64_t last)
{
    int64_t i = 0;
    for (; i + MOST_ROWS <= count; i += MOST_ROWS) visits_vnni(s, visits + i, first, last, MOST_ROWS);
    for (; i < count; i++) visits_vnni(s, visits + i, first, last, 1);
}

AVX2_INLINE uint32_t reach_avx2(const int32_t *scores, int32_t limit)
{
    const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(limit),
                                             _mm256_loadu_si256((const __m256i *)scores));
    return ~(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(below)) & 0xff;
}

AVX2 static void choose_avx2(const Scan *s, int64_t row)
{
    choose(s, row, reach_avx2);
}

AVX2 static void dots_avx2(const float *const *vectors, const float *query, int64_t width,
                           float *logits)
{
    float lanes[LANES];
    __m256 sums[DOTS];
    for (int i = 0; i < DOTS; i++) sums[i] = _mm256_setzero_ps();
    for (int64_t d = 0; d < width; d += LANES) {
        const __m256 asked = _mm256_loadu_ps(query + d);
        for (int i = 0; i < DOTS; i++)
            sums[i] = _mm256_add_ps(sums[i], _mm256_mul_ps(_mm256_loadu_ps(vectors[i] + d), asked));
    }
    for (int i = 0; i < DOTS; i++) {
        _mm256_storeu_ps(lanes, sums[i]);
        logits[i] = summed(lanes);
    }
}

const Form AVX2_FORM = {scan_avx2, choose_avx2, dots_avx2};
const Form VNNI_FORM = {scan_vnni, choose_avx2, dots_avx2};
#endif
