/* Where arrays lie, for libraries that are called with pointers. */

#include "passes.h"

/* addresses(array or None, ...) -> (address or None, ...) of arrays without gaps */
PyObject *addresses(PyObject *module, PyObject *const *arrays, Py_ssize_t count) {
    PyObject *found = PyTuple_New(count);
    (void)module;
    for (Py_ssize_t n = 0; found != NULL && n < count; n++) {
        Py_buffer held;
        PyObject *address = NULL;
        if (arrays[n] == Py_None) {
            address = Py_NewRef(Py_None);
        } else if (PyObject_GetBuffer(arrays[n], &held, PyBUF_SIMPLE) == 0) {
            address = PyLong_FromVoidPtr(held.buf);
            PyBuffer_Release(&held);
        }
        if (address == NULL)
            Py_CLEAR(found);
        else
            PyTuple_SET_ITEM(found, n, address);
    }
    return found;
}
