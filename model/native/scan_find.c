/*
 * A whole search around the scan: queries in steps before it, the log-normaliser behind it. The
 * exponentials lie between `scan_ask` and `scan_tell` and are the caller's, so that they are
 * numpy's in every form; sums run in numpy's order.
 */

#include <math.h>

#include "scan.h"

#define QUERY_STEPS 63
#define QUERY_OFFSET 64
#define SUM_UNITS 1099511627776.0 /* 2 ** 40 */
#define BESIDE 3                  /* exponents of a row beside those of its logits */

/* An index, and the scratch of a pass over at most `rows` queries. */
typedef struct {
    Scan items, centres; /* centres.groups is 0 where there are no clusters */
    const float *vectors;
    const int32_t *codes;
    const double *spread; /* [dims + 1] of the clusters */
    uint8_t *query;       /* [rows][dims] */
    float *slope, *centre_slope; /* [rows] */
    float *logits;               /* [rows][keep] */
    double *skipped;             /* [rows] */
    int64_t rows, width, form;
    double item_step, centre_step, bits_per_nat, largest, constant, growth;
} Index;

/* Where queries lie, and what was found of them. */
typedef struct {
    const float *queries, *along;
    int32_t *top_items;
    float *top_logits, *log_z;
    double *exact, *rest, *growing;
    double *exponents; /* [rows][keep + BESIDE] */
    int64_t top;
} Asked;

/* The sum of `count` numbers, pair by pair as numpy's add.reduce takes them. */
static double pairwise(const double *values, int64_t count)
{
    double lanes[8], sum;
    if (count < 8) {
        sum = 0;
        for (int64_t i = 0; i < count; i++) sum += values[i];
        return sum;
    }
    if (count > 128) {
        const int64_t half = count / 2 - count / 2 % 8;
        return pairwise(values, half) + pairwise(values + half, count - half);
    }
    memcpy(lanes, values, sizeof lanes);
    for (int64_t i = 8; i + 8 <= count; i += 8)
        for (int lane = 0; lane < 8; lane++) lanes[lane] += values[i + lane];
    sum = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
          ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
    for (int64_t i = count - count % 8; i < count; i++) sum += values[i];
    return sum;
}

/* scan_rough.in_steps */
static void in_steps(const Index *index, const float *along, int64_t row)
{
    const int64_t dims = index->items.dims;
    uint8_t *query = index->query + row * dims;
    float largest = 1e-30f, step;
    for (int64_t d = 0; d < dims; d++) largest = fmaxf(largest, fabsf(along[d]));
    step = largest / (float)QUERY_STEPS;
    for (int64_t d = 0; d < dims; d++) {
        const float steps = rintf(along[d] / step) + (float)QUERY_OFFSET;
        /* What is no number stays one in the model's other results, and is refused there. */
        query[d] = steps >= 0 && steps <= QUERY_OFFSET + QUERY_STEPS ? (uint8_t)steps : 0;
    }
    index->slope[row] = (float)((double)step * index->item_step * index->bits_per_nat);
    index->centre_slope[row] = (float)((double)step * index->centre_step * index->bits_per_nat);
}

/* The rough share of what was scanned and not found. */
static double others(const Scan *s, int64_t row)
{
    double sums[LANES], rest;
    for (int lane = 0; lane < LANES; lane++) sums[lane] = s->sums[row * LANES + lane];
    rest = pairwise(sums, LANES) - (double)s->found_sums[row] / SUM_UNITS;
    return rest > 0 ? rest : 0;
}

/* What is to be raised to e for a row; see ScanIndex.rest. */
static void set_exponents(const Index *index, const Asked *asked, int64_t row, int64_t local)
{
    const int64_t keep = index->items.keep, dims = index->items.dims;
    const float *logits = index->logits + local * keep, *along = asked->along + row * dims;
    double *into = asked->exponents + row * (keep + BESIDE), squares[MAX_DIMS], outside;
    for (int64_t i = 0; i < keep; i++) into[i] = (double)logits[i] - index->largest;
    for (int64_t d = 0; d < dims; d++) squares[d] = (double)along[d] * (double)along[d];
    outside = 1.0 - pairwise(squares, dims);
    asked->exact[row] = index->skipped[local];
    asked->rest[row] = others(&index->items, local);
    into[keep] = into[keep + 1] = 0;
    asked->growing[row] = outside;
    if (index->centres.groups) {
        const double lacking = index->spread[dims] * outside / 2;
        for (int64_t d = 0; d < dims; d++) squares[d] *= index->spread[d];
        into[keep] = lacking;
        into[keep + 1] = asked->growing[row] = pairwise(squares, dims) / 2 + lacking;
    }
    into[keep + 2] = index->constant + index->growth * asked->growing[row];
}

static void ask_some(Index *index, const Asked *asked, int64_t first, int64_t rows)
{
    const int64_t dims = index->items.dims, top = asked->top;
    index->items.rows = index->centres.rows = rows;
    for (int64_t row = 0; row < rows; row++)
        in_steps(index, asked->along + (first + row) * dims, row);
    if (index->centres.groups) scan_rough(&index->centres, (int32_t)index->form);
    for (int64_t row = 0; row < rows; row++)
        index->skipped[row] = index->centres.groups ? others(&index->centres, row) : 0;
    scan_rough(&index->items, (int32_t)index->form);
    scan_exact(&index->items, index->vectors, index->codes, asked->queries + first * index->width,
               index->width, top, (int32_t)index->form, asked->top_items + first * top,
               asked->top_logits + first * top, index->logits);
    for (int64_t row = 0; row < rows; row++) set_exponents(index, asked, first + row, row);
}

/* The best items of `rows` queries, and the exponents that `scan_tell` wants the exps of. */
EXPORT void scan_ask(Index *index, const Asked *asked, int64_t rows)
{
    for (int64_t first = 0; first < rows; first += index->rows)
        ask_some(index, asked, first, rows - first < index->rows ? rows - first : index->rows);
}

/* The log-normalisers, once `exponents` holds exps. */
EXPORT void scan_tell(const Index *index, const Asked *asked, int64_t rows)
{
    const int64_t keep = index->items.keep;
    for (int64_t row = 0; row < rows; row++) {
        const double *exps = asked->exponents + row * (keep + BESIDE);
        const double skipped = asked->exact[row];
        if (index->centres.groups)
            asked->rest[row] = asked->rest[row] * exps[keep] + skipped * exps[keep + 1];
        asked->exact[row] = pairwise(exps, keep);
        asked->log_z[row] = (float)(log(asked->exact[row] + asked->rest[row] * exps[keep + 2]) +
                                    index->largest);
    }
}
