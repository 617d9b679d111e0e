/* Arrays of numpy as pass 2 reads and writes them, and the events that it plays. */

#ifndef GRIDS_H
#define GRIDS_H

#include "passes.h"

/* One or two dimensions of any strides. */
typedef struct {
    Py_buffer held;
    char *at;
    Py_ssize_t rows, columns, down, right;
} Grid;

static inline int open_grid(Grid *grid, PyObject *array, Py_ssize_t item_bytes, Py_ssize_t rows) {
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

static inline void close_grids(Grid *grids, int count) {
    for (int n = 0; n < count; n++)
        if (grids[n].held.obj != NULL) PyBuffer_Release(&grids[n].held);
}

static inline int open_grids(Grid *grids, PyObject *arrays, int count, const uint8_t *item_bytes,
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

typedef struct {
    const Layout *layout;
    Py_buffer rows;
    Grid table, chosen, places; /* the events' steps, and where they come among the tokens */
} Round;

static inline int open_round(Round *round, PyObject *bytes, PyObject *capsule, PyObject *table,
                      PyObject *chosen, PyObject *places) {
    round->layout = layout_of(capsule);
    if (round->layout == NULL) return -1;
    if (PyObject_GetBuffer(bytes, &round->rows, PyBUF_WRITABLE) < 0) {
        round->rows.obj = NULL;
        return -1;
    }
    if (open_grid(&round->table, table, 1, 0) < 0 || open_grid(&round->chosen, chosen, 8, 0) < 0 ||
        open_grid(&round->places, places, 8, round->chosen.rows) < 0)
        return -1;
    if (round->table.columns == sizeof(Step)) return 0;
    PyErr_SetString(PyExc_ValueError, "the table's rows are no steps");
    return -1;
}

static inline void close_round(Round *round) {
    if (round->rows.obj != NULL) PyBuffer_Release(&round->rows);
    close_grids(&round->table, 1);
    close_grids(&round->chosen, 1);
    close_grids(&round->places, 1);
}

/* The step of event n, its number, its place, its user's row; NULL with an exception where it has
   none. */
static inline char *row_of(const Round *round, Py_ssize_t n, Step *step, Py_ssize_t *number,
                    Py_ssize_t *place) {
    *number = (Py_ssize_t)i64_at(cell(&round->chosen, n, 0));
    *place = (Py_ssize_t)i64_at(cell(&round->places, n, 0));
    if (*number >= 0 && *number < round->table.rows && *place >= 0 &&
        *place < round->chosen.rows) {
        memcpy(step, cell(&round->table, *number, 0), sizeof *step);
        if (step->row >= 0 && step->row < round->rows.len / round->layout->row_bytes)
            return (char *)round->rows.buf + step->row * round->layout->row_bytes;
    }
    PyErr_SetString(PyExc_IndexError, "a step or its row does not exist");
    return NULL;
}

static inline char *entry_of(const Layout *layout, char *row, Py_ssize_t place) {
    return row + layout->at[RING] + place * layout->entry_bytes;
}

/* Columns of what enter leaves for leave: an event's place in its ring, and how many of the ring's
   newest events lay in its window then. */
enum { NEWEST, INSIDE, WINDOW_COLUMNS };

#endif
