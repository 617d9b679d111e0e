/* SessionTimers: deadlines in a heap, each a lower bound. */

#include "heap.h"

static int read_number(PyObject *object, const char *name, int64_t *into) {
    PyObject *held = PyObject_GetAttrString(object, name);
    if (held == NULL) return -1;
    *into = PyLong_AsLongLong(held);
    Py_DECREF(held);
    return *into == -1 && PyErr_Occurred() ? -1 : 0;
}

int open_timers(Timers *timers, PyObject *object) {
    timers->object = Py_NewRef(object);
    return read_timers(timers);
}

int read_timers(Timers *timers) {
    if (timers->numbers.obj != NULL) PyBuffer_Release(&timers->numbers);
    Py_XSETREF(timers->heap, PyObject_GetAttrString(timers->object, "heap"));
    PyObject *numbers = PyObject_GetAttrString(timers->object, "number_of");
    if (timers->heap == NULL || numbers == NULL) {
        Py_XDECREF(numbers);
        return -1;
    }
    int done = PyObject_GetBuffer(numbers, &timers->numbers, PyBUF_WRITABLE);
    if (done < 0) timers->numbers.obj = NULL;
    Py_DECREF(numbers);
    if (done < 0 || read_number(timers->object, "set_total", &timers->set_total) < 0 ||
        read_number(timers->object, "waiting_ms", &timers->waiting_ms) < 0)
        return -1;
    if (heap_of(timers->heap) == NULL) return -1;
    if (timers->numbers.itemsize == sizeof(int64_t)) return 0;
    PyErr_SetString(PyExc_TypeError, "timers have 64-bit numbers by row");
    return -1;
}

int write_timers(const Timers *timers) {
    PyObject *total = PyLong_FromLongLong(timers->set_total);
    int done = total == NULL ? -1 : PyObject_SetAttrString(timers->object, "set_total", total);
    Py_XDECREF(total);
    return done;
}

void release_timers(Timers *timers) {
    if (timers->numbers.obj != NULL) PyBuffer_Release(&timers->numbers);
    Py_CLEAR(timers->object);
    Py_CLEAR(timers->heap);
}

/* Call a method with a number; what it may change is read anew. */
static int call_timers(Timers *timers, const char *method, int64_t number) {
    PyObject *result = NULL;
    if (write_timers(timers) == 0)
        result = PyObject_CallMethod(timers->object, method, "L", (long long)number);
    Py_XDECREF(result);
    return result == NULL ? -1 : read_timers(timers);
}

/* The number of a row's timer, 0 where it has none. */
static int64_t *number_of(const Timers *timers, int64_t row) {
    int64_t rows = timers->numbers.len / (Py_ssize_t)sizeof(int64_t);
    return row >= 0 && row < rows ? (int64_t *)timers->numbers.buf + row : NULL;
}

int has_timer(const Timers *timers, int64_t row) {
    const int64_t *number = number_of(timers, row);
    return number != NULL && *number != 0;
}

int pop_timer(Timers *timers, int64_t now_ms, int64_t *row, int64_t due[2]) {
    if (timers->waiting_ms <= now_ms && call_timers(timers, "wake", now_ms) < 0) return -1;
    Heap *heap = heap_of(timers->heap);
    while (heap->count > 0 && heap->held[0].at_ms <= now_ms) {
        Deadline first = heap_pop(heap);
        int64_t *number = number_of(timers, first.row);
        if (number == NULL || *number != first.number) continue;
        *number = 0, *row = first.row;
        due[0] = first.at_ms, due[1] = first.offset;
        return 1;
    }
    return 0;
}

int set_timer(Timers *timers, int64_t row, const int64_t due[2]) {
    if (number_of(timers, row) == NULL && call_timers(timers, "make_room", row + 1) < 0) return -1;
    int64_t *number = number_of(timers, row);
    if (number == NULL) {
        PyErr_SetString(PyExc_IndexError, "no timer can be set for a row that is not there");
        return -1;
    }
    *number = ++timers->set_total;
    return heap_push(heap_of(timers->heap), (Deadline){due[0], due[1], *number, row});
}
