/* Deadlines in a heap, the first one on top: heapq over (deadline, offset, number, row). */

#include "heap.h"

static const char NAME[] = "stream_app.core.extension.heap";

static void release(PyObject *capsule) {
    Heap *heap = PyCapsule_GetPointer(capsule, NAME);
    PyMem_Free(heap->held);
    PyMem_Free(heap);
}

Heap *heap_of(PyObject *capsule) { return PyCapsule_GetPointer(capsule, NAME); }

static int is_before(const Deadline *one, const Deadline *other) {
    if (one->at_ms != other->at_ms) return one->at_ms < other->at_ms;
    if (one->offset != other->offset) return one->offset < other->offset;
    return one->number < other->number;
}

int heap_push(Heap *heap, Deadline deadline) {
    if (heap->count == heap->room) {
        Py_ssize_t room = heap->room ? 2 * heap->room : 256;
        Deadline *held = PyMem_Realloc(heap->held, (size_t)room * sizeof *held);
        if (held == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        heap->held = held, heap->room = room;
    }
    Py_ssize_t at = heap->count++;
    while (at > 0 && is_before(&deadline, heap->held + (at - 1) / 2)) {
        heap->held[at] = heap->held[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->held[at] = deadline;
    return 0;
}

Deadline heap_pop(Heap *heap) {
    Deadline first = heap->held[0], last = heap->held[--heap->count];
    Py_ssize_t at = 0, child;
    while ((child = 2 * at + 1) < heap->count) {
        if (child + 1 < heap->count && is_before(heap->held + child + 1, heap->held + child))
            child++;
        if (!is_before(heap->held + child, &last)) break;
        heap->held[at] = heap->held[child];
        at = child;
    }
    heap->held[at] = last;
    return first;
}

/* heap() -> one that is empty */
PyObject *new_heap(PyObject *module, PyObject *args) {
    (void)module, (void)args;
    Heap *heap = PyMem_Calloc(1, sizeof *heap);
    if (heap == NULL) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(heap, NAME, release);
    if (capsule == NULL) PyMem_Free(heap);
    return capsule;
}

/* push(heap, deadline, offset, number, row) */
PyObject *push(PyObject *module, PyObject *args) {
    PyObject *capsule;
    long long at_ms, offset, number, row;
    (void)module;
    if (!PyArg_ParseTuple(args, "OLLLL", &capsule, &at_ms, &offset, &number, &row)) return NULL;
    Heap *heap = heap_of(capsule);
    if (heap == NULL || heap_push(heap, (Deadline){at_ms, offset, number, row}) < 0) return NULL;
    Py_RETURN_NONE;
}

/* pop(heap, now) -> (deadline, offset, number, row) of the first one, None where it is later. */
PyObject *pop(PyObject *module, PyObject *args) {
    PyObject *capsule;
    long long now_ms;
    (void)module;
    if (!PyArg_ParseTuple(args, "OL", &capsule, &now_ms)) return NULL;
    Heap *heap = heap_of(capsule);
    if (heap == NULL) return NULL;
    if (heap->count == 0 || heap->held[0].at_ms > now_ms) Py_RETURN_NONE;
    Deadline first = heap_pop(heap);
    return Py_BuildValue("(LLLL)", (long long)first.at_ms, (long long)first.offset,
                         (long long)first.number, (long long)first.row);
}
