/* Where the fields of a user's row lie. */

#include "passes.h"

static const char NAME[] = "stream_app.core.extension.layout";

static void release(PyObject *capsule) { PyMem_Free(PyCapsule_GetPointer(capsule, NAME)); }

const Layout *layout_of(PyObject *capsule) { return PyCapsule_GetPointer(capsule, NAME); }

static int read_offsets(PyObject *offsets, Py_ssize_t *into, Py_ssize_t count, Py_ssize_t end) {
    if (PyTuple_GET_SIZE(offsets) != count) {
        PyErr_Format(PyExc_ValueError, "%zd offsets are needed", count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        into[i] = PyLong_AsSsize_t(PyTuple_GET_ITEM(offsets, i));
        if (into[i] == -1 && PyErr_Occurred()) return -1;
        if (into[i] < 0 || into[i] >= end) {
            PyErr_SetString(PyExc_ValueError, "an offset lies outside of its row");
            return -1;
        }
    }
    return 0;
}

/* layout(row bytes, offsets of FIELDS, entry bytes, offsets of RING_FIELDS, ring length,
          bytes of one memory) */
PyObject *new_layout(PyObject *module, PyObject *args) {
    PyObject *fields, *ring_fields;
    Layout layout;
    (void)module;
    if (!PyArg_ParseTuple(args, "nO!nO!nn", &layout.row_bytes, &PyTuple_Type, &fields,
                          &layout.entry_bytes, &PyTuple_Type, &ring_fields, &layout.ring_length,
                          &layout.memory_bytes))
        return NULL;
    if (read_offsets(fields, layout.at, FIELD_COUNT, layout.row_bytes) < 0 ||
        read_offsets(ring_fields, layout.in_entry, RING_FIELD_COUNT, layout.entry_bytes) < 0)
        return NULL;
    if (layout.at[RING] + layout.ring_length * layout.entry_bytes > layout.row_bytes ||
        layout.at[HIDDEN] + layout.memory_bytes > layout.row_bytes ||
        layout.at[ANCHOR] + layout.memory_bytes > layout.row_bytes || layout.ring_length < 1 ||
        layout.ring_length > UINT8_MAX) {
        PyErr_SetString(PyExc_ValueError, "a row's parts do not fit into it");
        return NULL;
    }
    Layout *kept = PyMem_Malloc(sizeof *kept);
    if (kept == NULL) return PyErr_NoMemory();
    *kept = layout;
    PyObject *capsule = PyCapsule_New(kept, NAME, release);
    if (capsule == NULL) PyMem_Free(kept);
    return capsule;
}
