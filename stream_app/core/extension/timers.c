/* SessionTimers: deadlines in a heap, each a lower bound. */

#include "passes.h"

/* Entries of the heap: (deadline, offset, number, row). */
enum { DEADLINE_MS, OFFSET, NUMBER, TIMED_ROW, ENTRY_COUNT };

static int read_number(PyObject *object, const char *name, int64_t *into) {
    PyObject *held = PyObject_GetAttrString(object, name);
    if (held == NULL) return -1;
    *into = PyLong_AsLongLong(held);
    Py_DECREF(held);
    return *into == -1 && PyErr_Occurred() ? -1 : 0;
}

int open_timers(Timers *timers, PyObject *object) {
    PyObject *heapq = PyImport_ImportModule("heapq");
    if (heapq == NULL || object == NULL) {
        Py_XDECREF(heapq);
        return -1;
    }
    timers->object = Py_NewRef(object);
    timers->push = PyObject_GetAttrString(heapq, "heappush");
    timers->pop = PyObject_GetAttrString(heapq, "heappop");
    Py_DECREF(heapq);
    return timers->push == NULL || timers->pop == NULL ? -1 : read_timers(timers);
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
    if (PyList_Check(timers->heap) && timers->numbers.itemsize == sizeof(int64_t)) return 0;
    PyErr_SetString(PyExc_TypeError, "timers are a list, with 64-bit numbers by row");
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
    Py_CLEAR(timers->push);
    Py_CLEAR(timers->pop);
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

static int read_entry(PyObject *entry, int64_t values[ENTRY_COUNT]) {
    if (!PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) != ENTRY_COUNT) {
        PyErr_SetString(PyExc_TypeError, "a timer is a tuple of four");
        return -1;
    }
    for (int n = 0; n < ENTRY_COUNT; n++) values[n] = PyLong_AsLongLong(PyTuple_GET_ITEM(entry, n));
    return PyErr_Occurred() ? -1 : 0;
}

int pop_timer(Timers *timers, int64_t now_ms, int64_t *row, int64_t due[2]) {
    int64_t first[ENTRY_COUNT];
    if (timers->waiting_ms <= now_ms && call_timers(timers, "wake", now_ms) < 0) return -1;
    while (PyList_GET_SIZE(timers->heap) > 0) {
        if (read_entry(PyList_GET_ITEM(timers->heap, 0), first) < 0) return -1;
        if (first[DEADLINE_MS] > now_ms) return 0;
        PyObject *entry = PyObject_CallOneArg(timers->pop, timers->heap);
        if (entry == NULL) return -1;
        Py_DECREF(entry);
        int64_t *number = number_of(timers, first[TIMED_ROW]);
        if (number == NULL || *number != first[NUMBER]) continue;
        *number = 0, *row = first[TIMED_ROW];
        due[0] = first[DEADLINE_MS], due[1] = first[OFFSET];
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
    PyObject *pushed = NULL, *entry = Py_BuildValue("(LLLL)", (long long)due[0], (long long)due[1],
                                                    (long long)*number, (long long)row);
    if (entry != NULL)
        pushed = PyObject_CallFunctionObjArgs(timers->push, timers->heap, entry, NULL);
    Py_XDECREF(entry);
    Py_XDECREF(pushed);
    return pushed == NULL ? -1 : 0;
}
