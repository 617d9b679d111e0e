/* Pass 1: a step from a click and its row. */

#include "admission.h"

/* PartitionRecord.see_item */
static void see_item(Pass *pass, int is_known) {
    if (is_known)
        pass->known++;
    else
        pass->unknown++;
    int64_t items = pass->known + pass->unknown;
    if (items >= pass->horizon) {
        pass->known /= 2;
        pass->unknown /= 2;
    }
    pass->is_unfamiliar = items >= pass->least_events && pass->unknown > pass->known;
}

/* Items and actions by code. */
static int find_codes(Pass *pass, const Event *event, uint32_t hash, Step *step) {
    PyObject *item = PyTuple_GET_ITEM(event->click, ITEM_ID), *code = NULL;
    int64_t found;
    if (item != Py_None) {
        code = PyDict_GetItemWithError(pass->codes, item);
        if (code == NULL && PyErr_Occurred()) return FAILED;
        see_item(pass, code != NULL);
    }
    if (code != NULL) {
        found = PyLong_AsLongLong(code);
    } else {
        int64_t bucket = item == Py_None ? pass->cold_buckets : hash % pass->cold_buckets;
        found = PyDict_GET_SIZE(pass->codes) + bucket;
    }
    PyObject *name = PyTuple_GET_ITEM(event->click, ACTION_NAME);
    PyObject *action = PyDict_GetItemWithError(pass->action_codes, name);
    step->item = (int32_t)found;
    step->mark = action == NULL ? 1 : (uint8_t)PyLong_AsLong(action);
    return PyErr_Occurred() ? FAILED : DONE;
}

static uint8_t dwell_code(const Pass *pass, int64_t dwell_ms) {
    const int64_t *edges = pass->dwell_edges.buf;
    Py_ssize_t count = pass->dwell_edges.len / (Py_ssize_t)sizeof *edges;
    uint8_t code = dwell_ms >= 0;
    if (dwell_ms < 0) return 0;
    for (Py_ssize_t n = 0; n < count; n++) code += dwell_ms >= edges[n];
    return code;
}

/* Admission._booked */
int book(Pass *pass, const Event *event, uint32_t hash, Step step) {
    const Layout *layout = pass->layout;
    PyObject *dwell = PyTuple_GET_ITEM(event->click, CLICK_DWELL_MS);
    int64_t dwell_ms = dwell == Py_None ? -1 : PyLong_AsLongLong(dwell);
    if (find_codes(pass, event, hash, &step) < 0) return FAILED;
    step.at_ms = event->at_ms;
    step.position = u32_at(event->row + layout->at[SESSION_EVENTS]);
    step.total = u32_at(event->row + layout->at[EVENTS_TOTAL]);
    step.row = event->row_number;
    step.round = event->newest < 0 ? 0 : step_at(pass, event->newest)->round + 1;
    step.batch_row = event->number;
    step.before = event->newest;
    step.id_hash = event->id_hash;
    step.item_hash = hash;
    step.dwell_ms = (int32_t)dwell_ms;
    if (step.starts) step.mark |= STARTS_SESSION;
    if (PyTuple_GET_ITEM(event->click, SESSION_ID) != Py_None) step.mark |= NAMES_SESSION;
    step.dwell = dwell_code(pass, dwell_ms);
    step.fallback = (uint8_t)pass->is_unfamiliar;
    memcpy(step.user, PyBytes_AS_STRING(event->pseudonym), sizeof step.user);
    *step_at(pass, pass->step_count) = step;
    ((int64_t *)pass->step_numbers.buf)[event->row_number] = pass->first_step + pass->step_count++;
    return PyList_Append(pass->clicks, event->click);
}
