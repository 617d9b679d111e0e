/* stream_app.core.extension.passes: the core's inner loops in C. */

#include "passes.h"
#include "user_index.h"

/* Of what passes.pyi says; stream_app/core/compiled.py takes no other one. */
#define INTERFACE 1

static PyMethodDef FUNCTIONS[] = {
    {"layout", new_layout, METH_VARARGS, NULL}, {"keyed", new_keyed, METH_VARARGS, NULL},
    {"digest", digest_with, METH_VARARGS, NULL}, {"admit", admit, METH_VARARGS, NULL},
    {"reading", new_reading, METH_VARARGS, NULL}, {"read", read_clicks, METH_VARARGS, NULL},
    {"keep_newest", keep_newest, METH_VARARGS, NULL},
    {"addresses", (PyCFunction)(void (*)(void))addresses, METH_FASTCALL, NULL},
    {"changes", changes, METH_VARARGS, NULL},
    {"heap", new_heap, METH_NOARGS, NULL},      {"push", push, METH_VARARGS, NULL},
    {"pop", pop, METH_VARARGS, NULL},           {"packed", packed, METH_VARARGS, NULL},     {"half", half_bits, METH_VARARGS, NULL},
    {"lanes", lanes, METH_VARARGS, NULL},       {"enter", enter, METH_VARARGS, NULL},
    {"leave", leave, METH_VARARGS, NULL},       {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "passes", .m_size = -1, .m_methods = FUNCTIONS,
};

static int add_names(PyObject *module, const char *name, const char *const *names, int count) {
    PyObject *held = PyTuple_New(count);
    for (int n = 0; held != NULL && n < count; n++) {
        PyObject *one = PyUnicode_FromString(names[n]);
        if (one == NULL)
            Py_CLEAR(held);
        else
            PyTuple_SET_ITEM(held, n, one);
    }
    if (held == NULL) return -1;
    int done = PyModule_AddObjectRef(module, name, held);
    Py_DECREF(held);
    return done;
}

PyMODINIT_FUNC PyInit_passes(void) {
    static const char *const fields[] = {FIELDS}, *const ring_fields[] = {RING_FIELDS};
    const uint16_t one = 1;
    if (*(const uint8_t *)&one != 1) {
        PyErr_SetString(PyExc_ImportError, "rows are little-endian, this machine is not");
        return NULL;
    }
    PyObject *module = PyModule_Create(&MODULE);
    if (module == NULL) return NULL;
    if (PyModule_AddIntMacro(module, INTERFACE) < 0 || add_user_index(module) < 0 ||
        add_names(module, "FIELDS", fields, FIELD_COUNT) < 0 ||
        add_names(module, "RING_FIELDS", ring_fields, RING_FIELD_COUNT) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
