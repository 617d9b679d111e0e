/* Pass 1: the rows of users, and the ends of their sessions. */

#include "admission.h"

static int take_row(Pass *pass, Event *event, Py_ssize_t row) {
    event->row_number = row;
    Py_ssize_t end = pass->rows.len / pass->layout->row_bytes;
    Py_ssize_t numbered = pass->step_numbers.len / (Py_ssize_t)sizeof(int64_t);
    if (event->row_number < 0 || event->row_number >= end ||
        event->row_number >= numbered) {
        PyErr_SetString(PyExc_IndexError, "a user's row lies outside of the table");
        return FAILED;
    }
    event->row = (char *)pass->rows.buf + event->row_number * pass->layout->row_bytes;
    const int64_t *numbers = pass->step_numbers.buf;
    int64_t newest = numbers[event->row_number] - pass->first_step;
    event->newest = newest < pass->step_count ? (Py_ssize_t)(newest < 0 ? -1 : newest) : -1;
    return DONE;
}

int find_row(Pass *pass, Event *event) {
    const char *name = PyBytes_AS_STRING(event->pseudonym);
    int32_t row = find_user(pass->index, (const uint8_t *)name);
    return row == NOBODY ? LEFT : take_row(pass, event, row);
}

static PyObject *new_tuple(PyTypeObject *type, Py_ssize_t count, PyObject **parts) {
    PyObject *made = type->tp_alloc(type, count);
    for (Py_ssize_t n = 0; n < count; n++) {
        if (made != NULL && parts[n] != NULL)
            PyTuple_SET_ITEM(made, n, parts[n]);
        else
            Py_XDECREF(parts[n]);
        if (made != NULL && parts[n] == NULL) Py_CLEAR(made);
    }
    /* Bytes and numbers refer to nothing: the collector need not look. */
    if (made != NULL) PyObject_GC_UnTrack(made);
    return made;
}

/* What the row expected: action codes, then their log-probabilities. */
static PyObject *expectation(const Pass *pass, const char *row) {
    char told[3 * EXPECTED];
    memcpy(told, row + pass->layout->at[EXPECTED_ACTION], EXPECTED);
    memcpy(told + EXPECTED, row + pass->layout->at[EXPECTED_ACTION_LOGP], 2 * EXPECTED);
    return PyBytes_FromStringAndSize(told, sizeof told);
}

/* Admission._end_session */
int end_session(Pass *pass, const Event *event, int64_t at_ms) {
    const Py_ssize_t *at = pass->layout->at;
    char *row = event->row;
    PyObject *number = PyLong_FromSsize_t(event->row_number);
    PyObject *parts[] = {
        PyLong_FromSsize_t(event->number),
        Py_NewRef(event->pseudonym),
        Py_XNewRef(number),
        PyLong_FromLongLong(at_ms),
        PyLong_FromLongLong(i64_at(row + at[LAST_OFFSET])),
        PyLong_FromUnsignedLong(u32_at(row + at[SESSION_EVENTS])),
        PyLong_FromSsize_t(event->newest),
        PyFloat_FromDouble(f32_at(row + at[CLOSE_SURPRISE])),
        expectation(pass, row),
        PyBool_FromLong(pass->is_unfamiliar),
    };
    PyObject *end = new_tuple(pass->session_end, 10, parts);
    PyObject *told = end == NULL ? NULL : Py_BuildValue("(nN)", pass->step_count, end);
    int done = append(pass->others, told);
    row[at[SESSION_OPEN]] = 0;
    if (done == 0) done = PyDict_SetItem(pass->changed, event->pseudonym, Py_None);
    if (done == 0) done = PySet_Add(pass->ended, number);
    Py_XDECREF(number);
    return done;
}

static int end_session_of(Pass *pass, Py_ssize_t number, int64_t row, int64_t at_ms) {
    if (is_vacant(pass->index, (Py_ssize_t)row)) {
        PyErr_SetString(PyExc_KeyError, "a timer of a user who is gone");
        return FAILED;
    }
    const char *name = (const char *)pass->index->users[row].name;
    Event end = {.number = number, .pseudonym = PyBytes_FromStringAndSize(name, NAME_BYTES)};
    if (end.pseudonym == NULL) return FAILED;
    int done = take_row(pass, &end, (Py_ssize_t)row);
    if (done == DONE) done = end_session(pass, &end, at_ms);
    Py_DECREF(end.pseudonym);
    return done;
}

void due_of(const Pass *pass, const char *row, int64_t due[2]) {
    due[0] = i64_at(row + pass->layout->at[LAST_EVENT_MS]) + pass->session_gap_ms;
    due[1] = i64_at(row + pass->layout->at[LAST_OFFSET]);
}

/* PartitionStore.pop_due, and the ends of those sessions. */
int end_due(Pass *pass, const Event *event) {
    int64_t expected[2], due[2];
    int found;
    int64_t row;
    while ((found = pop_timer(&pass->timers, event->at_ms, &row, expected)) == 1) {
        if (row >= pass->rows.len / pass->layout->row_bytes) {
            PyErr_SetString(PyExc_IndexError, "a timer's row lies outside of the table");
            return FAILED;
        }
        char *held = (char *)pass->rows.buf + row * pass->layout->row_bytes;
        if (!held[pass->layout->at[SESSION_OPEN]]) continue;
        due_of(pass, held, due);
        int done = due[0] == expected[0] && due[1] == expected[1]
                       ? end_session_of(pass, event->number, row, due[0])
                       : set_timer(&pass->timers, row, due);
        if (done != DONE) return FAILED;
    }
    return found;
}
