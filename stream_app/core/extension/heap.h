/* Deadlines in a heap. */

#ifndef HEAP_H
#define HEAP_H

#include "passes.h"

typedef struct {
    int64_t at_ms, offset, number, row; /* numbers differ */
} Deadline;

typedef struct {
    Deadline *held;
    Py_ssize_t count, room;
} Heap;

/* Python's object for a Heap is a capsule. NULL with an exception set where it is none. */
Heap *heap_of(PyObject *capsule);
int heap_push(Heap *heap, Deadline deadline);
Deadline heap_pop(Heap *heap); /* of a heap that is not empty */

#endif
