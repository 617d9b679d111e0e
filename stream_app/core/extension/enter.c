/* Pass 2 before the engine, event by event: stream_app.core.around_steps, window and features. Rows
   are written in place. */

#include "grids.h"

#define BASE_BEFORE_MS ((int64_t)1 << 31)
#define TOP_MS (((int64_t)1 << 32) - 1)
#define HOUR_MS 3600000
#define DAY_MS (24 * HOUR_MS)
#define EPOCH_WEEKDAY 3

/* --- the ring */

/* window.insert; returns the place. */
static uint8_t insert(const Layout *layout, char *row, const Step *step) {
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
    uint8_t place = (uint8_t)(next % layout->ring_length);
    char *entry = entry_of(layout, row, place);
    int64_t since = step->at_ms - base;
    uint16_t high = (uint16_t)(step->id_hash >> 32) & ID_HIGH_HASH;
    PUT(entry + layout->in_entry[AT], uint32_t, since > 0 ? since : 0);
    PUT(entry + layout->in_entry[ITEM], uint32_t, step->item_hash);
    PUT(entry + layout->in_entry[ID_LOW], uint32_t, step->id_hash);
    PUT(entry + layout->in_entry[ID_HIGH], uint16_t, high | step->dwell << DWELL_SHIFT);
    entry[layout->in_entry[ACTION]] = (char)step->mark;
    row[layout->at[NEXT]] = (char)((next + 1) % layout->ring_length);
    row[layout->at[USED]] = (char)(used < layout->ring_length ? used + 1 : layout->ring_length);
    return place;
}

/* How many of a ring's newest events lie in the window that ends with the newest one: the ring is
   in the order of time. */
static uint8_t in_window(const Layout *layout, char *row, uint8_t newest, const Step *step,
                         int64_t window_ms) {
    int64_t base = i64_at(row + layout->at[RING_BASE_MS]), after_ms = step->at_ms - window_ms;
    uint8_t used = (uint8_t)row[layout->at[USED]], count = 1;
    Py_ssize_t place = newest;
    for (; count < used; count++) {
        place = (place ? place : layout->ring_length) - 1;
        if (u32_at(entry_of(layout, row, place) + layout->in_entry[AT]) + base <= after_ms) break;
    }
    return count;
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

enum { T_ITEM, T_ACTION, T_GAP, T_DENSE, TOKEN_ARRAYS };

/* Memories that the first events of lanes meet. */
typedef struct {
    Grid hidden, log_z;
    const char *fresh; /* what sessions begin with, if it resets them */
    Py_ssize_t fresh_bytes;
    float fresh_log_z;
} Met;

static int open_met(Met *met, PyObject *hiddens, PyObject *log_zs, PyObject *fresh,
                    const Layout *layout) {
    if (fresh != Py_None &&
        !PyArg_ParseTuple(fresh, "y#f", &met->fresh, &met->fresh_bytes, &met->fresh_log_z))
        return -1;
    if (open_grid(&met->hidden, hiddens, 1, 0) < 0) return -1;
    if (open_grid(&met->log_z, log_zs, 4, met->hidden.rows) < 0) return -1;
    if (met->hidden.columns == layout->memory_bytes && met->hidden.right == 1 &&
        (met->fresh == NULL || met->fresh_bytes == layout->memory_bytes))
        return 0;
    PyErr_SetString(PyExc_ValueError, "memories of another width");
    return -1;
}

static void close_met(Met *met) {
    close_grids(&met->hidden, 1);
    close_grids(&met->log_z, 1);
}

static void fill_met(const Met *met, const Layout *layout, const char *row, const Step *step,
                     Py_ssize_t lane) {
    if (met->fresh != NULL && step->starts) {
        memcpy(cell(&met->hidden, lane, 0), met->fresh, (size_t)layout->memory_bytes);
        PUT(cell(&met->log_z, lane, 0), float, met->fresh_log_z);
    } else {
        memcpy(cell(&met->hidden, lane, 0), row + layout->at[HIDDEN], (size_t)layout->memory_bytes);
        memcpy(cell(&met->log_z, lane, 0), row + layout->at[LOG_Z], 4);
    }
}

static int enter_all(const Round *round, const Grid *told, const Grid *token, const Grid *window,
                     const Met *met, int64_t window_ms, int64_t burst_ms) {
    const Layout *layout = round->layout;
    Py_ssize_t number, place;
    for (Py_ssize_t n = 0; n < round->chosen.rows; n++) {
        Step step;
        char *row = row_of(round, n, &step, &number, &place);
        if (row == NULL) return -1;
        uint8_t newest = insert(layout, row, &step);
        *cell(window, n, NEWEST) = (char)newest;
        *cell(window, n, INSIDE) = (char)in_window(layout, row, newest, &step, window_ms);
        PUT(cell(token + T_ITEM, place, 0), int32_t, step.item);
        PUT(cell(token + T_ACTION, place, 0), int32_t, step.mark & ACTION_CODE);
        PUT(cell(token + T_GAP, place, 0), int32_t, gap_code(step.gap_ms, told + GAPS));
        if (token[T_DENSE].columns)
            fill_dense(layout, row, &step, told, window_ms, burst_ms, token + T_DENSE, place);
        if (place < met->hidden.rows) fill_met(met, layout, row, &step, place);
    }
    return 0;
}

/* enter(row bytes, layout, table, chosen, places, features, tokens, windows [N, 2],
         hidden bytes [B, M], log z [B], window ms, burst ms,
         None or the (hidden bytes, log z) that sessions begin with): puts N steps in order into
   their rings, and fills in what the engine is asked; who comes first of a lane has one of the
   first B places. */
PyObject *enter(PyObject *module, PyObject *args) {
    static const uint8_t told_bytes[] = {4, 4, 4, 4, 8, 8, 8}, token_bytes[] = {4, 4, 4, 4};
    PyObject *bytes, *capsule, *table, *chosen, *places, *features, *tokens, *windows, *hiddens;
    PyObject *log_zs, *fresh;
    long long window_ms, burst_ms;
    Round round = {0};
    Grid told[FEATURE_ARRAYS] = {0}, token[TOKEN_ARRAYS] = {0}, window = {0};
    Met met = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOO!O!OOOLLO", &bytes, &capsule, &table, &chosen, &places,
                          &PyTuple_Type, &features, &PyTuple_Type, &tokens, &windows, &hiddens,
                          &log_zs, &window_ms, &burst_ms, &fresh))
        return NULL;
    int done = open_round(&round, bytes, capsule, table, chosen, places);
    if (done == 0) done = open_grids(told, features, FEATURE_ARRAYS, told_bytes, 0);
    if (done == 0) done = open_grids(token, tokens, TOKEN_ARRAYS, token_bytes, round.chosen.rows);
    if (done == 0) done = open_grid(&window, windows, 1, round.chosen.rows);
    if (done == 0) done = open_met(&met, hiddens, log_zs, fresh, round.layout);
    if (done == 0 &&
        (token[T_DENSE].columns != told[KINDS].rows || window.columns != WINDOW_COLUMNS)) {
        PyErr_SetString(PyExc_ValueError, "features or windows of another width");
        done = -1;
    }
    if (done == 0) done = enter_all(&round, told, token, &window, &met, window_ms, burst_ms);
    close_round(&round);
    close_grids(told, FEATURE_ARRAYS);
    close_grids(token, TOKEN_ARRAYS);
    close_grids(&window, 1);
    close_met(&met);
    if (done < 0) return NULL;
    Py_RETURN_NONE;
}
