/* What the files of pass 1 share. */

#ifndef ADMISSION_H
#define ADMISSION_H

#include "passes.h"
#include "user_index.h"

/* Fields of a Click. */
enum { USER_ID, EVENT_ID, SESSION_ID, ITEM_ID, ACTION_NAME, CLICK_AT_MS, CLICK_DWELL_MS };

enum { FAILED = -1, DONE = 0, LEFT = 1 }; /* LEFT: a record for the form in Python */

typedef struct {
    PyObject *admission, *store, *record, *steps;
    PyObject *cleaned, *others, *clicks, *timelines, *ended, *offsets;
    PyObject *slots, *changed, *codes, *action_codes;
    PyObject *table; /* bytearray of Step, with room for all that may come */
    PyTypeObject *click, *session_end;
    UserIndex *index; /* slots, in C */
    Timers timers;
    const Keyed *users, *events;
    const Layout *layout;
    Py_buffer rows, step_numbers, dwell_edges;
    Py_ssize_t step_count;
    int64_t first_step; /* its number, counted over all passes */
    PyObject *add; /* the name of a method of the store */
    int64_t most_users, allowed_ms, session_gap_ms, bucket_ms, horizon, least_events, cold_buckets;
    int64_t watermark_ms, bucket, known, unknown, duplicates;
    int is_unfamiliar, resets;
} Pass;

typedef struct {
    Py_ssize_t number; /* in the batch */
    PyObject *click, *pseudonym;
    char *row; /* NULL: none yet */
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
int read_rows(Pass *pass); /* where they lie, no more */
int write_record(Pass *pass);
int read_number(PyObject *object, const char *name, int64_t *into);
int write_number(PyObject *object, const char *name, int64_t value);

static inline Step *step_at(const Pass *pass, Py_ssize_t k) {
    return (Step *)PyByteArray_AS_STRING(pass->table) + k;
}

/* --- admission.c */
/* The UTF-8 of a text that is not empty; NULL without an exception for anything else. */
const char *text_of(PyObject *text, Py_ssize_t *bytes);

/* --- ahead.c */
enum { AHEAD = 8 };

/* A record that is looked at before its turn. */
typedef struct {
    int is_click; /* of a user whom `name` names */
    uint8_t name[NAME_BYTES];
    uint32_t hash;
    int32_t row; /* a likely one, NOBODY: not known */
} Coming;

typedef struct {
    Coming at[AHEAD]; /* records by place modulo AHEAD */
    Py_ssize_t end;   /* the first one that was not looked at */
} Ahead;

/* Look at records up to `AHEAD` from this one on, which is returned. */
const Coming *look_ahead(const Pass *pass, Ahead *ahead, Py_ssize_t number);

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
