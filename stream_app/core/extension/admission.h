/* What the files of pass 1 share. */

#ifndef ADMISSION_H
#define ADMISSION_H

#include "passes.h"

/* Fields of a Click. */
enum { USER_ID, EVENT_ID, SESSION_ID, ITEM_ID, ACTION_NAME, CLICK_AT_MS, CLICK_DWELL_MS };

enum { FAILED = -1, DONE = 0, LEFT = 1 }; /* LEFT: a record for the form in Python */

typedef struct {
    PyObject *admission, *store, *record, *steps;
    PyObject *cleaned, *others, *clicks, *timelines, *ended, *offsets;
    PyObject *slots, *pseudonyms, *changed, *codes, *action_codes, *move_to_end;
    PyObject *table; /* bytearray of Step, with room for all that may come */
    PyTypeObject *click, *session_end;
    Timers timers;
    const Keyed *users, *events;
    const Layout *layout;
    Py_buffer rows, step_numbers, dwell_edges;
    Py_ssize_t step_count;
    int64_t first_step; /* its number, counted over all passes */
    int64_t allowed_ms, session_gap_ms, bucket_ms, horizon, least_events, cold_buckets;
    int64_t watermark_ms, bucket, known, unknown, duplicates;
    int is_unfamiliar, resets;
} Pass;

typedef struct {
    Py_ssize_t number; /* in the batch */
    PyObject *click, *pseudonym, *row_object;
    char *row;
    Py_ssize_t row_number;
    Py_ssize_t newest; /* of the row's steps in this pass; -1: none yet */
    uint64_t id_hash;
    int64_t at_ms;
} Event;

/* --- pass.c */
int open_pass(Pass *pass, PyObject *admission);
void close_pass(Pass *pass);
/* Make room for so many steps more, and give back what was not needed. */
int make_room(Pass *pass, Py_ssize_t steps);
int end_room(Pass *pass);
/* What Python may have changed, and what it has to know. */
int read_store(Pass *pass);
int write_record(Pass *pass);
int read_number(PyObject *object, const char *name, int64_t *into);
int write_number(PyObject *object, const char *name, int64_t value);

static inline Step *step_at(const Pass *pass, Py_ssize_t k) {
    return (Step *)PyByteArray_AS_STRING(pass->table) + k;
}

/* --- sessions.c */
int find_row(Pass *pass, Event *event);
int end_session(Pass *pass, const Event *event, int64_t at_ms);
/* The ends of sessions that are over by the time of an event. */
int end_due(Pass *pass, const Event *event);
void due_of(const Pass *pass, const char *row, int64_t due[2]);

/* --- booking.c */
int book(Pass *pass, const Event *event, uint32_t item_hash, Step step);

static inline int append(PyObject *list, PyObject *made) {
    if (made == NULL) return FAILED;
    int done = PyList_Append(list, made);
    Py_DECREF(made);
    return done;
}

#endif
