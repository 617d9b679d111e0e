/* Pass 2 behind the engine, event by event: stream_app.core.around_steps and memory. Rows are written
   in place. */

#include "grids.h"

#define MAX_SURPRISE 1000.0f
#define OLDEST_AGE 255
#define NO_ACTION 255

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

enum {
    S_DENSE, S_ITEM, S_ACTION, S_TOP_ITEMS, S_TOP_LOGP, S_ACTION_LOGP, S_CART, S_PURCHASE,
    S_GAP_LOGP, S_LOG_Z, STEP_ARRAYS
};
enum {
    R_DENSE, R_ITEM, R_ACTION, R_TOP_ITEMS, R_TOP_LOGP, R_ACTION_LOGP, R_CART, R_PURCHASE,
    R_GAP_LOGP, R_SCORE, R_CLOSE, R_EXPECTED_ITEM, R_EXPECTED_ITEM_LOGP, R_EXPECTED_ACTION,
    R_EXPECTED_ACTION_LOGP, RESULT_ARRAYS
};

static void copy_row(const Grid *to, Py_ssize_t into, const Grid *from, Py_ssize_t row) {
    for (Py_ssize_t n = 0; n < to->columns; n++)
        memcpy(cell(to, into, n), cell(from, row, n), 4);
}

/* The largest surprise in the window of an event that has just got its own, as numpy's maximum
   takes equal ones. What came behind it has not, so older ones are still what they were. */
static float score_of(const Layout *layout, char *row, const char *window) {
    Py_ssize_t place = (uint8_t)window[NEWEST], count = (uint8_t)window[INSIDE];
    float best = 0;
    for (Py_ssize_t n = 0; n < count; n++) {
        const char *at = entry_of(layout, row, place) + layout->in_entry[SURPRISE];
        float value = float_of_half(u16_at(at));
        if ((n == 0 && count == layout->ring_length) || !(best >= value)) best = value;
        place = (place ? place : layout->ring_length) - 1;
    }
    return best;
}

static void expect_nothing(const Layout *layout, char *row) {
    for (int n = 0; n < EXPECTED; n++) {
        PUT(row + layout->at[EXPECTED_ITEM] + 4 * n, int32_t, -1);
        row[layout->at[EXPECTED_ACTION] + n] = (char)NO_ACTION;
    }
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

static int leave_all(const Round *round, const Grid *window, const Grid *found,
                     const Grid *hidden, const Grid *results, int64_t half, int resets) {
    const Layout *layout = round->layout;
    Py_ssize_t number, place;
    for (Py_ssize_t n = 0; n < round->chosen.rows; n++) {
        Step step;
        char *row = row_of(round, n, &step, &number, &place);
        if (row == NULL) return -1;
        const char *own = cell(window, n, 0);
        if ((uint8_t)own[NEWEST] >= layout->ring_length ||
            (uint8_t)own[INSIDE] > layout->ring_length) {
            PyErr_SetString(PyExc_IndexError, "a window is larger than its ring");
            return -1;
        }
        float surprise = f32_at(cell(found + S_ITEM, place, 0));
        surprise += f32_at(cell(found + S_ACTION, place, 0));
        if (surprise > MAX_SURPRISE) surprise = MAX_SURPRISE;
        PUT(entry_of(layout, row, (uint8_t)own[NEWEST]) + layout->in_entry[SURPRISE], uint16_t,
            half_of(surprise));
        for (int part = 0; part <= S_GAP_LOGP; part++)
            copy_row(results + part, number, found + part, place);
        PUT(cell(results + R_SCORE, number, 0), float, score_of(layout, row, own));
        PUT(cell(results + R_CLOSE, number, 0), float,
            -f32_at(cell(found + S_ACTION_LOGP, place, 0)));
        if (resets && step.starts) expect_nothing(layout, row);
        tell_expected(layout, row, results, number);
        remember(layout, row, &step, found, cell(hidden, place, 0), place, half);
    }
    return 0;
}

/* leave(row bytes, layout, table, chosen, places, windows as enter left them, what the steps found,
         hidden bytes [N, M], results, half a ring, whether sessions reset): writes in order what
   the engine said into rows and results. */
PyObject *leave(PyObject *module, PyObject *args) {
    static const uint8_t fours[RESULT_ARRAYS] = {4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4};
    PyObject *bytes, *capsule, *table, *chosen, *places, *windows, *steps, *hiddens, *into;
    long long half;
    int resets;
    Round round = {0};
    Grid found[STEP_ARRAYS] = {0}, results[RESULT_ARRAYS] = {0}, hidden = {0}, window = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOOO!OO!Lp", &bytes, &capsule, &table, &chosen, &places,
                          &windows, &PyTuple_Type, &steps, &hiddens, &PyTuple_Type, &into, &half,
                          &resets))
        return NULL;
    int done = open_round(&round, bytes, capsule, table, chosen, places);
    Py_ssize_t end = round.chosen.rows;
    if (done == 0) done = open_grid(&window, windows, 1, end);
    if (done == 0) done = open_grids(found, steps, STEP_ARRAYS, fours, end);
    if (done == 0) done = open_grids(results, into, RESULT_ARRAYS, fours, round.table.rows);
    if (done == 0) done = open_grid(&hidden, hiddens, 1, end);
    if (done == 0 && (hidden.columns != round.layout->memory_bytes || hidden.right != 1 ||
                      half < 1 || window.columns != WINDOW_COLUMNS || window.right != 1 ||
                      !same_widths(found, results))) {
        PyErr_SetString(PyExc_ValueError, "what was found is of another width");
        done = -1;
    }
    if (done == 0) done = leave_all(&round, &window, found, &hidden, results, half, resets);
    close_round(&round);
    close_grids(&window, 1);
    close_grids(found, STEP_ARRAYS);
    close_grids(results, RESULT_ARRAYS);
    close_grids(&hidden, 1);
    if (done < 0) return NULL;
    Py_RETURN_NONE;
}
