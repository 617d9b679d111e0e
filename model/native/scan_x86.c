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

#define VNNI __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni")))
#define VNNI_INLINE VNNI INLINE
#define MOST_ROWS 4
#define MOST_GROUPS 4

/* Rough scores of `groups` groups for `rows` rows, into `score`. */
VNNI_INLINE void products_vnni(const Scan *s, int64_t row, int64_t group, const int rows,
                               const int groups, __m256i score[MOST_ROWS][MOST_GROUPS])
{
    const int64_t stride = s->dims * LANES;
    const int8_t *items = s->items + group * stride;
    const uint8_t *query = s->query + row * s->dims;
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
            memcpy(&four, query + r * s->dims + d, CHUNK);
            const __m256i asked = _mm256_set1_epi32(four);
            for (int g = 0; g < groups; g++)
                score[r][g] = _mm256_dpbusd_epi32(score[r][g], asked, item[g]);
        }
    }
}

VNNI_INLINE void groups_vnni(const Scan *s, int64_t row, int64_t group, const int rows,
                             const int groups, __m256 *sums, const __m256 *slope,
                             __m256i *largest)
{
    __m256i score[MOST_ROWS][MOST_GROUPS];
    const __m256 shift = _mm256_set1_ps(s->shift);
    products_vnni(s, row, group, rows, groups, score);
    for (int r = 0; r < rows; r++) {
        int32_t *scores = s->scores + ((row + r) * s->groups + group) * LANES;
        for (int g = 0; g < groups; g++) {
            _mm256_storeu_si256((__m256i *)(scores + g * LANES), score[r][g]);
            largest[r] = _mm256_max_epi32(largest[r], score[r][g]);
            sums[r] = add_exp(sums[r], score[r][g], slope[r], shift);
        }
    }
}

VNNI_INLINE void rows_vnni(const Scan *s, int64_t row, int64_t first, int64_t last, const int rows)
{
    const int64_t blocks = blocks_of(s);
    __m256 sums[MOST_ROWS], slope[MOST_ROWS];
    for (int r = 0; r < rows; r++) {
        sums[r] = _mm256_loadu_ps(s->sums + (row + r) * LANES);
        slope[r] = _mm256_set1_ps(s->slope[row + r]);
    }
    for (int64_t start = first; start < last; start += s->block) {
        const int64_t end = start + s->block < last ? start + s->block : last;
        __m256i largest[MOST_ROWS];
        int64_t group = start;
        for (int r = 0; r < rows; r++) largest[r] = _mm256_set1_epi32(INT32_MIN);
        for (; group + MOST_GROUPS <= end; group += MOST_GROUPS)
            groups_vnni(s, row, group, rows, MOST_GROUPS, sums, slope, largest);
        for (; group < end; group++) groups_vnni(s, row, group, rows, 1, sums, slope, largest);
        for (int r = 0; r < rows; r++)
            s->maxima[(row + r) * blocks + start / s->block] = largest_of(largest[r]);
    }
    for (int r = 0; r < rows; r++) _mm256_storeu_ps(s->sums + (row + r) * LANES, sums[r]);
}

VNNI static void scan_vnni(const Scan *s, int64_t first, int64_t last)
{
    int64_t row = 0;
    for (; row + MOST_ROWS <= s->rows; row += MOST_ROWS) rows_vnni(s, row, first, last, MOST_ROWS);
    for (; row < s->rows; row++) rows_vnni(s, row, first, last, 1);
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

AVX2 static float dot_avx2(const float *a, const float *b, int64_t width)
{
    float lanes[LANES];
    __m256 sums = _mm256_setzero_ps();
    for (int64_t d = 0; d < width; d += LANES)
        sums = _mm256_add_ps(sums, _mm256_mul_ps(_mm256_loadu_ps(a + d), _mm256_loadu_ps(b + d)));
    _mm256_storeu_ps(lanes, sums);
    return summed(lanes);
}

const Form AVX2_FORM = {scan_avx2, choose_avx2, dot_avx2};
const Form VNNI_FORM = {scan_vnni, choose_avx2, dot_avx2};
#endif
