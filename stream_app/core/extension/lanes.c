/* stream_app.core.lanes for the steps of a pass. */

#include "grids.h"

typedef struct {
    Py_ssize_t *lane_of;         /* of each step of the table, -1: none yet */
    Py_ssize_t *lane, *number;   /* of each event, and how many of its lane come before it */
    Py_ssize_t *length, *rank;   /* of each lane; the longest has rank 0 */
    Py_ssize_t *sizes, *offsets; /* of each round, and of the lanes of each length */
    Py_ssize_t lanes, rounds;
} Lanes;

static int divide(Lanes *found, const Grid *table, const Grid *chosen, int resets) {
    for (Py_ssize_t k = 0; k < table->rows; k++) found->lane_of[k] = -1;
    for (Py_ssize_t n = 0; n < chosen->rows; n++) {
        Py_ssize_t k = (Py_ssize_t)i64_at(cell(chosen, n, 0)), lane = -1;
        Step step;
        if (k < 0 || k >= table->rows) {
            PyErr_SetString(PyExc_IndexError, "a step does not exist");
            return -1;
        }
        memcpy(&step, cell(table, k, 0), sizeof step);
        if (step.before >= 0 && step.before < table->rows && !(resets && step.starts))
            lane = found->lane_of[step.before];
        if (lane < 0) {
            lane = found->lanes++;
            found->length[lane] = 0;
        }
        found->lane_of[k] = found->lane[n] = lane;
        found->number[n] = found->length[lane]++;
        if (found->length[lane] > found->rounds) found->rounds = found->length[lane];
    }
    return 0;
}

/* Ranks of the lanes, and sizes of the rounds. */
static void rank(Lanes *found) {
    Py_ssize_t longer = 0;
    for (Py_ssize_t n = 0; n <= found->rounds; n++) found->offsets[n] = 0;
    for (Py_ssize_t lane = 0; lane < found->lanes; lane++) found->offsets[found->length[lane]]++;
    for (Py_ssize_t length = found->rounds; length > 0; length--) {
        Py_ssize_t as_long = found->offsets[length];
        found->offsets[length] = longer;
        longer += as_long;
        found->sizes[length - 1] = longer;
    }
    for (Py_ssize_t lane = 0; lane < found->lanes; lane++)
        found->rank[lane] = found->offsets[found->length[lane]]++;
}

static PyObject *arranged(Lanes *found, const Grid *places) {
    PyObject *sizes = PyList_New(found->rounds);
    Py_ssize_t before = 0;
    if (sizes == NULL) return NULL;
    for (Py_ssize_t n = 0; n < found->rounds; n++) {
        PyObject *size = PyLong_FromSsize_t(found->sizes[n]);
        if (size == NULL) {
            Py_DECREF(sizes);
            return NULL;
        }
        PyList_SET_ITEM(sizes, n, size);
        found->offsets[n] = before;
        before += found->sizes[n];
    }
    for (Py_ssize_t n = 0; n < places->rows; n++)
        PUT(cell(places, n, 0), int64_t, found->offsets[found->number[n]] + found->rank[found->lane[n]]);
    return sizes;
}

/* lanes(table, chosen, places, whether sessions reset) -> sizes of the rounds: fills in where each
   of the chosen steps comes. */
PyObject *lanes(PyObject *module, PyObject *args) {
    PyObject *tables, *steps, *into, *sizes = NULL;
    Grid table = {0}, chosen = {0}, places = {0};
    Py_ssize_t *room = NULL;
    int resets;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOp", &tables, &steps, &into, &resets)) return NULL;
    int done = open_grid(&table, tables, 1, 0);
    if (done == 0) done = open_grid(&chosen, steps, 8, 0);
    if (done == 0) done = open_grid(&places, into, 8, chosen.rows);
    if (done == 0 && (table.columns != sizeof(Step) || places.rows != chosen.rows)) {
        PyErr_SetString(PyExc_ValueError, "the table's rows are no steps, or places too many");
        done = -1;
    }
    Py_ssize_t events = chosen.rows;
    if (done == 0) room = PyMem_New(Py_ssize_t, table.rows + 6 * events + 1);
    if (room != NULL) {
        Py_ssize_t *at = room + table.rows;
        Lanes found = {.lane_of = room, .lane = at, .number = at + events};
        found.length = at + 2 * events, found.rank = at + 3 * events;
        found.sizes = at + 4 * events, found.offsets = at + 5 * events;
        if (divide(&found, &table, &chosen, resets) == 0) {
            rank(&found);
            sizes = arranged(&found, &places);
        }
        PyMem_Free(room);
    } else if (done == 0) {
        PyErr_NoMemory();
    }
    close_grids(&table, 1);
    close_grids(&chosen, 1);
    close_grids(&places, 1);
    return sizes;
}
