/* Pass 2 around the engine, row by row: stream_app.core.rounds, window, features and memory. Rows
   are written in place. */

#include "passes.h"

#define BASE_BEFORE_MS ((int64_t)1 << 31)
#define TOP_MS (((int64_t)1 << 32) - 1)
#define HOUR_MS 3600000
#define DAY_MS (24 * HOUR_MS)
#define EPOCH_WEEKDAY 3
#define MAX_SURPRISE 1000.0f
#define OLDEST_AGE 255
#define NO_ACTION 255

/* One or two dimensions of any strides. */
typedef struct {
    Py_buffer held;
    char *at;
    Py_ssize_t rows, columns, down, right;
} Grid;

static int open_grid(Grid *grid, PyObject *array, Py_ssize_t item_bytes, Py_ssize_t rows) {
    if (PyObject_GetBuffer(array, &grid->held, PyBUF_STRIDES | PyBUF_WRITABLE) < 0) {
        grid->held.obj = NULL;
        return -1;
    }
    const Py_buffer *held = &grid->held;
    grid->at = held->buf;
    int fits = (held->ndim == 1 || held->ndim == 2) && held->itemsize == item_bytes;
    if (fits) {
        grid->rows = held->shape[0], grid->down = held->strides[0];
        grid->columns = held->ndim == 2 ? held->shape[1] : 1;
        grid->right = held->ndim == 2 ? held->strides[1] : 0;
    }
    if (fits && grid->rows >= rows) return 0;
    PyErr_Format(PyExc_ValueError, "an array of at least %zd rows of %zd bytes a number is needed",
                 rows, item_bytes);
    return -1;
}

static void close_grids(Grid *grids, int count) {
    for (int n = 0; n < count; n++)
        if (grids[n].held.obj != NULL) PyBuffer_Release(&grids[n].held);
}

static int open_grids(Grid *grids, PyObject *arrays, int count, const uint8_t *item_bytes,
                      Py_ssize_t rows) {
    if (PyTuple_GET_SIZE(arrays) != count) {
        PyErr_Format(PyExc_ValueError, "%d arrays are needed", count);
        return -1;
    }
    for (int n = 0; n < count; n++)
        if (open_grid(grids + n, PyTuple_GET_ITEM(arrays, n), item_bytes[n], rows) < 0) return -1;
    return 0;
}

static inline char *cell(const Grid *grid, Py_ssize_t row, Py_ssize_t column) {
    return grid->at + row * grid->down + column * grid->right;
}

static void copy_row(const Grid *to, Py_ssize_t into, const Grid *from, Py_ssize_t row) {
    for (Py_ssize_t n = 0; n < to->columns; n++)
        memcpy(cell(to, into, n), cell(from, row, n), 4);
}

/* float16 of a float, to the nearest, ties to even. */
static uint16_t half_of(float value) {
    uint32_t bits, sign, rest;
    memcpy(&bits, &value, sizeof bits);
    sign = bits >> 16 & 0x8000, bits &= 0x7FFFFFFF;
    if (bits > 0x7F800000) return (uint16_t)(sign | 0x7C00 | bits >> 13 | 1); /* no number */
    if (bits >= 0x477FF000) return (uint16_t)(sign | 0x7C00);
    if (bits < 0x38800000) { /* below the smallest normal one: in units of 2 ** -24 */
        float magnitude, shifted;
        memcpy(&magnitude, &bits, sizeof magnitude);
        /* Added to 0.5 the units are the last bits of the sum, and it is rounded as it should. */
        shifted = magnitude + 0.5f;
        memcpy(&rest, &shifted, sizeof rest);
        return (uint16_t)(sign | (rest - 0x3F000000));
    }
    rest = bits - 0x38000000 + 0xFFF + (bits >> 13 & 1);
    return (uint16_t)(sign | rest >> 13);
}

PyObject *half_bits(PyObject *module, PyObject *args) {
    float value;
    (void)module;
    if (!PyArg_ParseTuple(args, "f", &value)) return NULL;
    uint16_t half = half_of(value);
    return Py_BuildValue("(id)", (int)half, (double)float_of_half(half));
}

/* --- the ring */

typedef struct {
    const Layout *layout;
    Py_buffer rows;
    Grid table, chosen;
} Round;

static int open_round(Round *round, PyObject *bytes, PyObject *capsule, PyObject *table,
                      PyObject *chosen) {
    round->layout = layout_of(capsule);
    if (round->layout == NULL) return -1;
    if (PyObject_GetBuffer(bytes, &round->rows, PyBUF_WRITABLE) < 0) {
        round->rows.obj = NULL;
        return -1;
    }
    if (open_grid(&round->table, table, 1, 0) < 0 || open_grid(&round->chosen, chosen, 8, 0) < 0)
        return -1;
    if (round->table.columns == sizeof(Step)) return 0;
    PyErr_SetString(PyExc_ValueError, "the table's rows are no steps");
    return -1;
}

static void close_round(Round *round) {
    if (round->rows.obj != NULL) PyBuffer_Release(&round->rows);
    close_grids(&round->table, 1);
    close_grids(&round->chosen, 1);
}

/* The step in lane n, its number, its user's row; NULL with an exception where it has none. */
static char *row_of(const Round *round, Py_ssize_t n, Step *step, Py_ssize_t *number) {
    *number = (Py_ssize_t)i64_at(cell(&round->chosen, n, 0));
    if (*number >= 0 && *number < round->table.rows) {
        memcpy(step, cell(&round->table, *number, 0), sizeof *step);
        if (step->row >= 0 && step->row < round->rows.len / round->layout->row_bytes)
            return (char *)round->rows.buf + step->row * round->layout->row_bytes;
    }
    PyErr_SetString(PyExc_IndexError, "a step or its row does not exist");
    return NULL;
}

static char *entry_of(const Layout *layout, char *row, Py_ssize_t place) {
    return row + layout->at[RING] + place * layout->entry_bytes;
}

/* window.insert */
static void insert(const Layout *layout, char *row, const Step *step) {
    int64_t base = i64_at(row + layout->at[RING_BASE_MS]);
    uint8_t used = (uint8_t)row[layout->at[USED]], next = (uint8_t)row[layout->at[NEXT]];
    if (used == 0) base = step->at_ms - BASE_BEFORE_MS;
    if (step->at_ms - base > TOP_MS) {
        int64_t moved = step->at_ms - BASE_BEFORE_MS;
        for (Py_ssize_t place = 0; place < layout->ring_length; place++) {
            char *at = entry_of(layout, row, place) + layout->in_entry[AT];
            int64_t since = u32_at(at) + base - moved;
            PUT(at, uint32_t, since > 0 ? since : 0);
        }
        base = moved;
    }
    PUT(row + layout->at[RING_BASE_MS], int64_t, base);
    char *entry = entry_of(layout, row, next % layout->ring_length);
    int64_t since = step->at_ms - base;
    uint16_t high = (uint16_t)(step->id_hash >> 32) & ID_HIGH_HASH;
    PUT(entry + layout->in_entry[AT], uint32_t, since > 0 ? since : 0);
    PUT(entry + layout->in_entry[ITEM], uint32_t, step->item_hash);
    PUT(entry + layout->in_entry[ID_LOW], uint32_t, step->id_hash);
    PUT(entry + layout->in_entry[ID_HIGH], uint16_t, high | step->dwell << DWELL_SHIFT);
    entry[layout->in_entry[ACTION]] = (char)step->mark;
    row[layout->at[NEXT]] = (char)((next + 1) % layout->ring_length);
    row[layout->at[USED]] = (char)(used < layout->ring_length ? used + 1 : layout->ring_length);
}

/* Which places of a ring lie in the window that ends with the step; sets times. */
static int inside(const Layout *layout, char *row, const Step *step, int64_t window_ms,
                  int64_t times[256], uint8_t is_inside[256]) {
    int64_t base = i64_at(row + layout->at[RING_BASE_MS]);
    Py_ssize_t used = (uint8_t)row[layout->at[USED]];
    int count = 0;
    for (Py_ssize_t place = 0; place < layout->ring_length; place++) {
        char *at = entry_of(layout, row, place) + layout->in_entry[AT];
        int64_t time_ms = times[place] = u32_at(at) + base;
        is_inside[place] = place < used && time_ms > step->at_ms - window_ms &&
                           time_ms <= step->at_ms;
        count += is_inside[place];
    }
    return count;
}

/* --- features: the order of kinds is that of features.KINDS */

enum { HOUR_SIN, HOUR_COS, DAY_SIN, DAY_COS, DWELL, INTERVAL, BURST, REPEATS, STEP_POSITION, SHARE };
enum { KINDS, HOURS, WEEKDAYS, DWELLS, DURATIONS, COUNTS, GAPS, FEATURE_ARRAYS };

static float scaled(int64_t value, const Grid *edges) {
    Py_ssize_t place = 0;
    for (Py_ssize_t n = 0; n < edges->rows; n++) place += value >= i64_at(cell(edges, n, 0));
    return (float)((double)place / (double)edges->rows);
}

static float share(int64_t part, int64_t whole) { return (float)((double)part / (double)whole); }

/* Features of one step, as features.dense has them. */
static void fill_dense(const Layout *layout, char *row, const Step *step, const Grid *told,
                       int64_t window_ms, int64_t burst_ms, const Grid *dense, Py_ssize_t lane) {
    int64_t times[256], first = INT64_MAX, last = 0;
    uint8_t is_inside[256];
    int64_t count = inside(layout, row, step, window_ms, times, is_inside), recent = 0, same = 0;
    int64_t by_action[ACTION_CODE + 1] = {0};
    int64_t day = step->at_ms / DAY_MS, hour = step->at_ms % DAY_MS / HOUR_MS;
    for (Py_ssize_t place = 0; place < layout->ring_length; place++) {
        if (!is_inside[place]) continue;
        const char *entry = entry_of(layout, row, place);
        int64_t time_ms = times[place];
        if (time_ms < first) first = time_ms;
        if (time_ms > last) last = time_ms;
        recent += time_ms > step->at_ms - burst_ms;
        same += step->item_hash && u32_at(entry + layout->in_entry[ITEM]) == step->item_hash;
        by_action[entry[layout->in_entry[ACTION]] & ACTION_CODE]++;
    }
    for (Py_ssize_t n = 0; n < dense->columns; n++) {
        int32_t kind = i32_at(cell(told + KINDS, n, 0)), action = i32_at(cell(told + KINDS, n, 1));
        float value = 0;
        switch (kind) {
            case HOUR_SIN:
            case HOUR_COS: value = f32_at(cell(told + HOURS, hour, kind - HOUR_SIN)); break;
            case DAY_SIN:
            case DAY_COS:
                value = f32_at(cell(told + WEEKDAYS, (day + EPOCH_WEEKDAY) % 7, kind - DAY_SIN));
                break;
            case DWELL: value = f32_at(cell(told + DWELLS, step->dwell, 0)); break;
            case INTERVAL:
                value = scaled((last - first) / (count > 2 ? count - 1 : 1), told + DURATIONS);
                break;
            case BURST: value = scaled(recent, told + COUNTS); break;
            case REPEATS: value = share(same > 1 ? same - 1 : 0, count); break;
            case STEP_POSITION: value = scaled(step->position, told + COUNTS); break;
            case SHARE: value = share(by_action[action & ACTION_CODE], count); break;
        }
        memcpy(cell(dense, lane, n), &value, sizeof value);
    }
}

static int32_t gap_code(int64_t gap_ms, const Grid *edges) {
    int32_t code = 1;
    if (gap_ms < 0) return 0;
    for (Py_ssize_t n = 0; n < edges->rows; n++) code += gap_ms >= i64_at(cell(edges, n, 0));
    return code;
}

/* --- before the engine */

enum { T_ITEM, T_ACTION, T_GAP, T_DENSE, T_LOG_Z, TOKEN_ARRAYS };

/* enter(row bytes, layout, table, chosen, features, tokens, hidden bytes [B, M], window ms, burst ms,
         None or the (hidden bytes, log z) that sessions begin with): puts B steps into their rings,
   and fills in what the engine is asked. */
PyObject *enter(PyObject *module, PyObject *args) {
    static const uint8_t told_bytes[] = {4, 4, 4, 4, 8, 8, 8}, token_bytes[] = {4, 4, 4, 4, 4};
    PyObject *bytes, *capsule, *table, *chosen, *features, *tokens, *hiddens, *fresh;
    long long window_ms, burst_ms;
    Round round = {0};
    Grid told[FEATURE_ARRAYS] = {0}, token[TOKEN_ARRAYS] = {0}, hidden = {0};
    const char *fresh_hidden = NULL;
    Py_ssize_t fresh_bytes = 0, end, number;
    float fresh_log_z = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO!O!OLLO", &bytes, &capsule, &table, &chosen, &PyTuple_Type,
                          &features, &PyTuple_Type, &tokens, &hiddens, &window_ms, &burst_ms,
                          &fresh))
        return NULL;
    if (fresh != Py_None &&
        !PyArg_ParseTuple(fresh, "y#f", &fresh_hidden, &fresh_bytes, &fresh_log_z))
        return NULL;
    int done = open_round(&round, bytes, capsule, table, chosen);
    end = round.chosen.rows;
    if (done == 0) done = open_grids(told, features, FEATURE_ARRAYS, told_bytes, 0);
    if (done == 0) done = open_grids(token, tokens, TOKEN_ARRAYS, token_bytes, end);
    if (done == 0) done = open_grid(&hidden, hiddens, 1, end);
    const Layout *layout = round.layout;
    if (done == 0 && (hidden.columns != layout->memory_bytes || hidden.right != 1 ||
                      (fresh_hidden != NULL && fresh_bytes != layout->memory_bytes) ||
                      token[T_DENSE].columns != (told[KINDS].rows))) {
        PyErr_SetString(PyExc_ValueError, "memories or features of another width");
        done = -1;
    }
    for (Py_ssize_t n = 0; done == 0 && n < end; n++) {
        Step step;
        char *row = row_of(&round, n, &step, &number);
        if (row == NULL) {
            done = -1;
            break;
        }
        insert(layout, row, &step);
        PUT(cell(token + T_ITEM, n, 0), int32_t, step.item);
        PUT(cell(token + T_ACTION, n, 0), int32_t, step.mark & ACTION_CODE);
        PUT(cell(token + T_GAP, n, 0), int32_t, gap_code(step.gap_ms, told + GAPS));
        if (token[T_DENSE].columns)
            fill_dense(layout, row, &step, told, window_ms, burst_ms, token + T_DENSE, n);
        if (fresh_hidden != NULL && step.starts) {
            for (int e = 0; e < EXPECTED; e++) {
                PUT(row + layout->at[EXPECTED_ITEM] + 4 * e, int32_t, -1);
                row[layout->at[EXPECTED_ACTION] + e] = (char)NO_ACTION;
            }
            memcpy(cell(&hidden, n, 0), fresh_hidden, (size_t)layout->memory_bytes);
            PUT(cell(token + T_LOG_Z, n, 0), float, fresh_log_z);
        } else {
            memcpy(cell(&hidden, n, 0), row + layout->at[HIDDEN], (size_t)layout->memory_bytes);
            memcpy(cell(token + T_LOG_Z, n, 0), row + layout->at[LOG_Z], 4);
        }
    }
    close_round(&round);
    close_grids(told, FEATURE_ARRAYS);
    close_grids(token, TOKEN_ARRAYS);
    close_grids(&hidden, 1);
    if (done < 0) return NULL;
    Py_RETURN_NONE;
}

/* --- behind it */

enum {
    S_DENSE, S_ITEM, S_ACTION, S_TOP_ITEMS, S_TOP_LOGP, S_ACTION_LOGP, S_CART, S_PURCHASE,
    S_GAP_LOGP, S_LOG_Z, STEP_ARRAYS
};
enum {
    R_DENSE, R_ITEM, R_ACTION, R_TOP_ITEMS, R_TOP_LOGP, R_ACTION_LOGP, R_CART, R_PURCHASE,
    R_GAP_LOGP, R_SCORE, R_CLOSE, R_EXPECTED_ITEM, R_EXPECTED_ITEM_LOGP, R_EXPECTED_ACTION,
    R_EXPECTED_ACTION_LOGP, RESULT_ARRAYS
};

/* The largest surprise in the step's window, as numpy's maximum takes equal ones. */
static float score_of(const Layout *layout, char *row, const Step *step, int64_t window_ms) {
    int64_t times[256];
    uint8_t is_inside[256];
    float best = 0;
    inside(layout, row, step, window_ms, times, is_inside);
    for (Py_ssize_t place = 0; place < layout->ring_length; place++) {
        const char *at = entry_of(layout, row, place) + layout->in_entry[SURPRISE];
        float value = is_inside[place] ? float_of_half(u16_at(at)) : 0;
        if (place == 0 || !(best >= value)) best = value;
    }
    return best;
}

static void tell_expected(const Layout *layout, const char *row, const Grid *results,
                          Py_ssize_t into) {
    for (int n = 0; n < EXPECTED; n++) {
        uint16_t item_logp = u16_at(row + layout->at[EXPECTED_ITEM_LOGP] + 2 * n);
        uint16_t action_logp = u16_at(row + layout->at[EXPECTED_ACTION_LOGP] + 2 * n);
        memcpy(cell(results + R_EXPECTED_ITEM, into, n), row + layout->at[EXPECTED_ITEM] + 4 * n, 4);
        PUT(cell(results + R_EXPECTED_ITEM_LOGP, into, n), float, float_of_half(item_logp));
        PUT(cell(results + R_EXPECTED_ACTION, into, n), int32_t,
            (uint8_t)row[layout->at[EXPECTED_ACTION] + n]);
        PUT(cell(results + R_EXPECTED_ACTION_LOGP, into, n), float, float_of_half(action_logp));
    }
}

/* memory.remember: what is likeliest next, ties to the lower code. */
static void expect(const Layout *layout, char *row, const Grid *step, Py_ssize_t lane) {
    const Grid *logp = step + S_ACTION_LOGP, *items = step + S_TOP_ITEMS;
    Py_ssize_t actions = logp->columns, chosen[EXPECTED];
    for (int n = 0; n < EXPECTED && n < items->columns; n++) {
        float found = f32_at(cell(step + S_TOP_LOGP, lane, n));
        memcpy(row + layout->at[EXPECTED_ITEM] + 4 * n, cell(items, lane, n), 4);
        PUT(row + layout->at[EXPECTED_ITEM_LOGP] + 2 * n, uint16_t, half_of(found));
    }
    for (int n = 0; n < EXPECTED && n < actions; n++) {
        Py_ssize_t best = -1;
        for (Py_ssize_t code = 0; code < actions; code++) {
            int is_taken = (n > 0 && chosen[0] == code) || (n > 1 && chosen[1] == code);
            if (!is_taken && (best < 0 || f32_at(cell(logp, lane, code)) >
                                              f32_at(cell(logp, lane, best))))
                best = code;
        }
        chosen[n] = best;
        row[layout->at[EXPECTED_ACTION] + n] = (char)best;
        PUT(row + layout->at[EXPECTED_ACTION_LOGP] + 2 * n, uint16_t,
            half_of(f32_at(cell(logp, lane, best))));
    }
}

/* memory.anchor and memory.remember */
static void remember(const Layout *layout, char *row, const Step *step, const Grid *found,
                     const char *hidden, Py_ssize_t lane, int64_t half) {
    const char *log_z = cell(found + S_LOG_Z, lane, 0);
    uint8_t age = (uint8_t)row[layout->at[ANCHOR_AGE]];
    if (step->total % half == 0) {
        row[layout->at[ANCHOR_AGE]] = 0;
        memcpy(row + layout->at[ANCHOR], hidden, (size_t)layout->memory_bytes);
        memcpy(row + layout->at[ANCHOR_LOG_Z], log_z, 4);
    } else {
        row[layout->at[ANCHOR_AGE]] = (char)((age < OLDEST_AGE - 1 ? age : OLDEST_AGE - 1) + 1);
    }
    memcpy(row + layout->at[HIDDEN], hidden, (size_t)layout->memory_bytes);
    memcpy(row + layout->at[LOG_Z], log_z, 4);
    PUT(row + layout->at[CLOSE_SURPRISE], float, -f32_at(cell(found + S_ACTION_LOGP, lane, 0)));
    expect(layout, row, found, lane);
}

static int same_widths(const Grid *found, const Grid *results) {
    for (int n = 0; n <= S_GAP_LOGP; n++)
        if (found[n].columns != results[n].columns) return 0;
    for (int n = R_EXPECTED_ITEM; n < RESULT_ARRAYS; n++)
        if (results[n].columns != EXPECTED) return 0;
    return found[S_ACTION_LOGP].columns > 0;
}

/* leave(row bytes, layout, table, chosen, what the step found, hidden bytes [B, M], results,
         window ms, half a ring): writes what the engine said into rows and results. */
PyObject *leave(PyObject *module, PyObject *args) {
    static const uint8_t fours[RESULT_ARRAYS] = {4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4};
    PyObject *bytes, *capsule, *table, *chosen, *steps, *hiddens, *into;
    long long window_ms, half;
    Round round = {0};
    Grid found[STEP_ARRAYS] = {0}, results[RESULT_ARRAYS] = {0}, hidden = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO!OO!LL", &bytes, &capsule, &table, &chosen, &PyTuple_Type,
                          &steps, &hiddens, &PyTuple_Type, &into, &window_ms, &half))
        return NULL;
    int done = open_round(&round, bytes, capsule, table, chosen);
    const Layout *layout = round.layout;
    Py_ssize_t end = round.chosen.rows, number;
    if (done == 0) done = open_grids(found, steps, STEP_ARRAYS, fours, end);
    if (done == 0) done = open_grids(results, into, RESULT_ARRAYS, fours, round.table.rows);
    if (done == 0) done = open_grid(&hidden, hiddens, 1, end);
    if (done == 0 && (hidden.columns != layout->memory_bytes || hidden.right != 1 || half < 1 ||
                      !same_widths(found, results))) {
        PyErr_SetString(PyExc_ValueError, "what was found is of another width");
        done = -1;
    }
    for (Py_ssize_t n = 0; done == 0 && n < end; n++) {
        Step step;
        char *row = row_of(&round, n, &step, &number);
        if (row == NULL) {
            done = -1;
            break;
        }
        float surprise = f32_at(cell(found + S_ITEM, n, 0)) + f32_at(cell(found + S_ACTION, n, 0));
        Py_ssize_t place = ((uint8_t)row[layout->at[NEXT]] + layout->ring_length - 1) %
                           layout->ring_length;
        if (surprise > MAX_SURPRISE) surprise = MAX_SURPRISE;
        PUT(entry_of(layout, row, place) + layout->in_entry[SURPRISE], uint16_t, half_of(surprise));
        for (int part = 0; part <= S_GAP_LOGP; part++)
            copy_row(results + part, number, found + part, n);
        PUT(cell(results + R_SCORE, number, 0), float, score_of(layout, row, &step, window_ms));
        PUT(cell(results + R_CLOSE, number, 0), float, -f32_at(cell(found + S_ACTION_LOGP, n, 0)));
        tell_expected(layout, row, results, number);
        remember(layout, row, &step, found, cell(&hidden, n, 0), n, half);
    }
    close_round(&round);
    close_grids(found, STEP_ARRAYS);
    close_grids(results, RESULT_ARRAYS);
    close_grids(&hidden, 1);
    if (done < 0) return NULL;
    Py_RETURN_NONE;
}
