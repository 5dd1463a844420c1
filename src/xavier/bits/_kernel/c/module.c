/* The Python module `xavier.bits._kernel._native`; `_native.pyi` says what it has.
 *
 * It trusts its one caller, `xavier.bits._fill`, with what a law may be, but not with memory:
 * the destination's address, shape and strides are those of the buffer itself.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "fill.h"
#include "instructions.h"

static const char *const KIND_NAMES[] = {
    [FILLED] = "filled",       [UNIFORM] = "uniform", [NORMAL] = "normal",
    [TRUNCATED] = "truncated", [SPARSE] = "sparse",   [WORDS] = "words",
};

static const char *const FORMAT_NAMES[] = {
    [FLOAT64] = "float64",   [FLOAT32] = "float32", [FLOAT16] = "float16",
    [BFLOAT16] = "bfloat16", [UINT64] = "uint64",   [UINT32] = "uint32",
};

#define COUNT(array) ((int)(sizeof(array) / sizeof(*(array))))

static int position(const char *name, const char *const *names, int count) {
    for (int i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) return i;
    }
    PyErr_Format(PyExc_ValueError, "the kernel has no %s", name);
    return -1;
}

static const Loops *loops_named(const char *name) {
    for (int i = 0; i < loops_count(); i++) {
        if (strcmp(name, loops_at(i)->name) == 0) return loops_at(i);
    }
    PyErr_Format(PyExc_ValueError, "this machine has no loops for %s", name);
    return NULL;
}

/* Reads a law's numbers, in the order in which `_samplers.py` has them. */
static int set_numbers(Law *law, PyObject *numbers, Format format) {
    law->stream = format == FLOAT64;
    switch (law->kind) {
        case FILLED: return PyArg_ParseTuple(numbers, "d", &law->value);
        case UNIFORM: return PyArg_ParseTuple(numbers, "ddd", &law->low, &law->width, &law->top);
        case NORMAL: return PyArg_ParseTuple(numbers, "dd", &law->mean, &law->std);
        case TRUNCATED:
            return PyArg_ParseTuple(numbers, "ddddd", &law->mean, &law->std, &law->inside,
                                    &law->half_outside, &law->limit);
        case SPARSE: return PyArg_ParseTuple(numbers, "ddI", &law->mean, &law->std, &law->threshold);
        default: return PyArg_ParseTuple(numbers, "I", &law->stream);
    }
}

static int set_law(Law *law, const char *kind, PyObject *numbers, Format format) {
    int found = position(kind, KIND_NAMES, COUNT(KIND_NAMES));
    if (found < 0) return 0;
    law->kind = (Kind)found;
    if ((law->kind == WORDS) != (format == UINT32 || format == UINT64)) {
        PyErr_Format(PyExc_ValueError, "%s has no values of this format", kind);
        return 0;
    }
    law->key[4] = 0x1BD11BDAu ^ law->key[0] ^ law->key[1] ^ law->key[2] ^ law->key[3];
    return set_numbers(law, numbers, format);
}

/* Takes memory and shape from the buffer, and what each axis adds to the stream's index. */
static int set_destination(Destination *to, const Py_buffer *buffer, PyObject *steps,
                           size_t item) {
    if (buffer->ndim > MOST_AXES || buffer->itemsize != (Py_ssize_t)item ||
        PyTuple_Size(steps) != buffer->ndim) {
        PyErr_SetString(PyExc_ValueError, "the destination does not fit its format or its steps");
        return 0;
    }
    to->data = buffer->buf;
    to->axes = buffer->ndim;
    for (int axis = 0; axis < to->axes; axis++) {
        to->size[axis] = (uint64_t)buffer->shape[axis];
        to->stride[axis] = buffer->strides[axis];
        to->step[axis] = PyLong_AsUnsignedLongLongMask(PyTuple_GetItem(steps, axis));
    }
    return !PyErr_Occurred();
}

static int is_empty(const Destination *to) {
    for (int axis = 0; axis < to->axes; axis++) {
        if (to->size[axis] == 0) return 1;
    }
    return 0;
}

/* Runs Python's signal handlers, which only the main thread has; `context` is the thread's state. */
static int interrupted(void *context) {
    PyThreadState **state = context;
    PyEval_RestoreThread(*state);
    int raised = PyErr_CheckSignals();
    *state = PyEval_SaveThread();
    return raised;
}

static PyObject *native_fill(PyObject *module, PyObject *arguments) {
    PyObject *out, *numbers, *steps;
    const char *kind, *format_name, *isa;
    unsigned long long first;
    int threads;
    Law law = {.kind = FILLED};
    Destination to;
    Py_buffer buffer;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OsO!s(IIII)KO!is:fill", &out, &kind, &PyTuple_Type, &numbers,
                          &format_name, &law.key[0], &law.key[1], &law.key[2], &law.key[3], &first,
                          &PyTuple_Type, &steps, &threads, &isa)) {
        return NULL;
    }
    if (threads < 1) {
        PyErr_Format(PyExc_ValueError, "the kernel cannot draw with %d threads", threads);
        return NULL;
    }
    int format = position(format_name, FORMAT_NAMES, COUNT(FORMAT_NAMES));
    const Loops *loops = loops_named(isa);
    if (format < 0 || !loops || !set_law(&law, kind, numbers, (Format)format)) return NULL;
    if (PyObject_GetBuffer(out, &buffer, PyBUF_STRIDES | PyBUF_WRITABLE)) return NULL;
    to.format = (Format)format;
    to.first = first;
    int failed = !set_destination(&to, &buffer, steps, item_of(to.format));
    if (!failed && !is_empty(&to)) {
        PyThreadState *state = PyEval_SaveThread();
        failed = fill(&to, &law, loops, threads, interrupted, &state);
        PyEval_RestoreThread(state);
    }
    PyBuffer_Release(&buffer);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyObject *native_instruction_sets(PyObject *module, PyObject *unused) {
    PyObject *names = PyTuple_New(loops_count());
    (void)module, (void)unused;
    for (int i = 0; names && i < loops_count(); i++) {
        PyObject *name = PyUnicode_FromString(loops_at(i)->name);
        if (!name || PyTuple_SetItem(names, i, name)) Py_CLEAR(names);
    }
    return names;
}

static PyMethodDef METHODS[] = {
    {"fill", native_fill, METH_VARARGS, NULL},
    {"instruction_sets", native_instruction_sets, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {
#if defined(Py_mod_gil)
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__native(void) {
    return PyModuleDef_Init(&MODULE);
}
