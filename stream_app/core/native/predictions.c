/*
 * The JSON of predictions from columns, for stream_app/core/encode.py, whose form in Python gives
 * the same bytes.
 *
 * Numbers are decimals of a fixed count of places, written as the shortest text that reads back as
 * the same float64: no zeros at the end but one behind the point, an exponent below 1e-5.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define PARTS 9
#define USER_BYTES 16
#define NUMBER_BYTES 24  /* the longest number */
#define LARGEST 2e15     /* units from here on are left to the other form: see ROUNDING */
#define ROUNDING 6755399441055744.0 /* 1.5 * 2 ** 52: adding it leaves no room for a fraction */

static const char ITEM[] = "{\"item_id\":", PROBABILITY[] = ",\"probability\":";
static const char *const STATES[] = {"normal", "anomalous", "uncalibrated"};
static const char *const FALLBACKS[] = {"null", "\"out_of_vocabulary\"", "\"overload\""};

/* Texts that lie behind one another. */
typedef struct {
    const char *bytes;
    const int64_t *ends;
} Texts;

typedef struct {
    Texts parts;   /* what all have in common, see encode.py */
    Texts actions; /* "name": */
    Texts items;   /* "id" of every item of the vocabulary */
    Texts ids;     /* "event id" of every prediction */
    Texts lists;   /* whole lists of items, where others than the model's are named */
    const uint8_t *blocked;        /* [items], or NULL */
    const uint8_t *users;          /* [n][USER_BYTES] */
    const int64_t *entries;        /* [n] which row of the columns below is told */
    const int64_t *offsets;        /* [n] */
    const int64_t *at_ms;          /* [n] */
    const int64_t *revisions;      /* [n] */
    const int64_t *list;           /* [n] which of `lists`; -1: the model's items */
    const uint8_t *fallbacks;      /* [n] */
    const uint8_t *states;         /* [rows] */
    const double *scores;          /* [rows] nats */
    const double *p_values;        /* [rows], NAN: none */
    const int32_t *top_items;      /* [rows][top] */
    const double *top;             /* [rows][top] probabilities */
    const double *action;          /* [rows][action_count] probabilities */
    const float *cart;             /* [rows], or NULL */
    const float *purchase;         /* [rows], or NULL */
    const double *next_ms;         /* [rows], or NULL */
    int64_t n;
    int64_t item_count;
    int64_t top_count;
    int64_t action_count;
    int64_t most;                  /* items of the model that are named */
} Predictions;

EXPORT int64_t predictions_version(void) { return 1; }

static char *put(char *at, const char *bytes, int64_t length)
{
    memcpy(at, bytes, (size_t)length);
    return at + length;
}

static int64_t length_of(const Texts *texts, int64_t number)
{
    return texts->ends[number] - (number ? texts->ends[number - 1] : 0);
}

static char *put_text(char *at, const Texts *texts, int64_t number)
{
    int64_t start = number ? texts->ends[number - 1] : 0;
    return put(at, texts->bytes + start, texts->ends[number] - start);
}

static char *put_word(char *at, const char *word) { return put(at, word, (int64_t)strlen(word)); }

static char *put_whole(char *at, uint64_t value)
{
    char digits[20];
    int count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count)
        *at++ = digits[--count];
    return at;
}

static char *put_signed(char *at, int64_t value)
{
    if (value < 0)
        *at++ = '-';
    return put_whole(at, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* A number below a hundred as two digits. */
static void put_pair(char *at, uint32_t number)
{
    at[0] = (char)('0' + number / 10);
    at[1] = (char)('0' + number % 10);
}

/* Six digits, without the zeros at their end; at least one. */
static char *put_fraction(char *at, uint32_t millionths)
{
    int count = 6;
    put_pair(at, millionths / 10000);
    put_pair(at + 2, millionths / 100 % 100);
    put_pair(at + 4, millionths % 100);
    while (count > 1 && at[count - 1] == '0')
        count--;
    return at + count;
}

/* units / 10 ** places */
static char *put_decimal(char *at, uint64_t units, int places)
{
    static const uint64_t POWERS[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    uint64_t whole = units / POWERS[places], rest = units % POWERS[places];
    if (places == 6 && units && units < 10) {
        *at++ = (char)('0' + units);
        return put(at, "e-6", 3);
    }
    at = put_whole(at, whole);
    *at++ = '.';
    return put_fraction(at, (uint32_t)(rest * POWERS[6 - places]));
}

static double rounded(double value) { return value + ROUNDING - ROUNDING; }

/* A probability rounded to six places; NULL where it is none. */
static char *put_probability(char *at, double probability)
{
    if (!(probability >= 0.0))
        return NULL;
    if (probability > 1.0)
        probability = 1.0;
    return put_decimal(at, (uint64_t)rounded(probability * 1e6), 6);
}

/* A value that is not negative in units of 1 / power, rounded by the exact product. */
static double exactly_rounded(double value, double power)
{
    double product = value * power, units = rounded(product);
    double error = fma(value, power, -product);
    if (fabs(product - units) == 0.5 && error != 0.0)
        units = error > 0.0 ? ceil(product) : floor(product);
    return units;
}

/* Nats, rounded to four places; NULL where they are none, or too large. */
static char *put_score(char *at, double score)
{
    if (!(fabs(score) * 1e4 < LARGEST))
        return NULL;
    if (signbit(score))
        *at++ = '-';
    return put_decimal(at, (uint64_t)exactly_rounded(fabs(score), 1e4), 4);
}

/* Milliseconds, rounded to one place as numpy does; NULL where they are none, or too large. */
static char *put_ms(char *at, double ms)
{
    if (!(fabs(ms) * 10.0 < LARGEST))
        return NULL;
    if (signbit(ms))
        *at++ = '-';
    return put_decimal(at, (uint64_t)rounded(fabs(ms) * 10.0), 1);
}

static char *put_head(char *at, const float *heads, int64_t row)
{
    double probability;
    if (!heads)
        return put_word(at, "null");
    probability = heads[row];
    return put_probability(at, probability < 0.0 ? 0.0 : probability);
}

static char *put_items(char *at, const Predictions *p, int64_t row)
{
    const int32_t *codes = p->top_items + row * p->top_count;
    const double *shares = p->top + row * p->top_count;
    int64_t named = 0, i;
    *at++ = '[';
    for (i = 0; i < p->top_count && named < p->most; i++) {
        if (codes[i] < 0 || codes[i] >= p->item_count)
            return NULL;
        if (p->blocked && p->blocked[codes[i]])
            continue;
        if (named++)
            *at++ = ',';
        at = put(at, ITEM, sizeof ITEM - 1);
        at = put_text(at, &p->items, codes[i]);
        at = put(at, PROBABILITY, sizeof PROBABILITY - 1);
        at = put_probability(at, shares[i]);
        if (!at)
            return NULL;
        *at++ = '}';
    }
    *at++ = ']';
    return at;
}

static char *put_actions(char *at, const Predictions *p, int64_t row)
{
    const double *shares = p->action + row * p->action_count;
    int64_t i;
    for (i = 0; i < p->action_count && at; i++) {
        if (i)
            *at++ = ',';
        at = put_probability(put_text(at, &p->actions, i), shares[i]);
    }
    return at;
}

static char *put_verdict(char *at, const Predictions *p, int64_t row)
{
    at = put_word(at, STATES[p->states[row]]);
    at = put_score(put_text(at, &p->parts, 7), p->scores[row]);
    if (!at)
        return NULL;
    at = put_word(at, ",\"p_value\":");
    if (isnan(p->p_values[row]))
        return put_word(at, "null");
    return put_decimal(at, (uint64_t)exactly_rounded(p->p_values[row], 1e6), 6);
}

static char *put_one(char *at, const Predictions *p, int64_t k, const char *user)
{
    int64_t row = p->entries[k];
    at = put_text(put_text(at, &p->parts, 0), &p->ids, k);
    at = put(put_text(at, &p->parts, 1), user, 2 * USER_BYTES);
    at = put_signed(put_text(at, &p->parts, 2), p->offsets[k]);
    at = put_signed(put_text(at, &p->parts, 3), p->at_ms[k]);
    at = put_signed(put_text(at, &p->parts, 4), p->revisions[k]);
    at = put_text(at, &p->parts, 5);
    at = p->list[k] < 0 ? put_items(at, p, row) : put_text(at, &p->lists, p->list[k]);
    at = at ? put_actions(put_word(at, ",\"actions\":{"), p, row) : NULL;
    at = at ? put_head(put_word(at, "},\"cart\":"), p->cart, row) : NULL;
    at = at ? put_head(put_word(at, ",\"purchase\":"), p->purchase, row) : NULL;
    if (!at)
        return NULL;
    at = put_word(at, ",\"next_event_ms\":");
    at = p->next_ms ? put_ms(at, p->next_ms[row]) : put_word(at, "null");
    at = at ? put_verdict(put_text(at, &p->parts, 6), p, row) : NULL;
    if (!at)
        return NULL;
    at = put_word(put_word(at, "},\"fallback\":"), FALLBACKS[p->fallbacks[k]]);
    return put_text(at, &p->parts, 8);
}

/* Room for a prediction, whatever its numbers are. */
static int64_t room(const Predictions *p, int64_t k)
{
    const int32_t *codes = p->top_items + p->entries[k] * p->top_count;
    int64_t bytes = 256 + 2 * USER_BYTES + 8 * NUMBER_BYTES, i;
    bytes += p->parts.ends[PARTS - 1] + p->actions.ends[p->action_count - 1];
    bytes += length_of(&p->ids, k) + p->action_count * (NUMBER_BYTES + 1);
    if (p->list[k] >= 0)
        return bytes + length_of(&p->lists, p->list[k]);
    for (i = 0; i < p->top_count; i++) {
        if (codes[i] < 0 || codes[i] >= p->item_count)
            break;
        bytes += length_of(&p->items, codes[i]);
    }
    return bytes + p->top_count * (int64_t)(sizeof ITEM + sizeof PROBABILITY + NUMBER_BYTES + 2);
}

/*
 * Writes the predictions from `first` on behind `ends[first - 1]`, as many as `capacity` bytes have
 * room for, and their users' names in hexadecimal digits. The number of the first one that is left;
 * -1 where one holds a number that has to be left to the other form.
 */
EXPORT int64_t predictions_write(const Predictions *p, int64_t first, char *values,
                                 int64_t capacity, int64_t *ends, char *names)
{
    static const char HEX[] = "0123456789abcdef";
    int64_t k, at = first ? ends[first - 1] : 0;
    for (k = first; k < p->n; k++) {
        const uint8_t *user = p->users + k * USER_BYTES;
        char *name = names + k * 2 * USER_BYTES, *end;
        int i;
        if (at + room(p, k) > capacity)
            break;
        for (i = 0; i < USER_BYTES; i++) {
            name[2 * i] = HEX[user[i] >> 4];
            name[2 * i + 1] = HEX[user[i] & 15];
        }
        end = put_one(values + at, p, k, name);
        if (!end)
            return -1;
        ends[k] = at = end - values;
    }
    return k;
}

/*
 * Where the texts of a JSON array of strings without spaces end, their quotes included, once they
 * lie behind one another: copies them to `texts`, which has as much room as the array.
 */
EXPORT int64_t predictions_texts(const char *array, int64_t length, char *texts, int64_t *ends)
{
    int64_t i, at = 0, count = 0;
    int inside = 0;
    for (i = 1; i < length - 1; i++) {
        char c = array[i];
        if (!inside && c == ',')
            continue;
        texts[at++] = c;
        if (inside && c == '\\') {
            texts[at++] = array[++i];
        } else if (c == '"') {
            inside = !inside;
            if (!inside)
                ends[count++] = at;
        }
    }
    return count;
}
