#include "threads.h"

#define MOST 256 /* more threads than this are not started */

typedef struct {
    Work *work;
    void *context;
} Task;

#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#include <process.h>
#include <windows.h>

static unsigned __stdcall helper(void *task_) {
    Task *task = task_;
    task->work(task->context, 0);
    return 0;
}

void run_threads(int threads, Work *work, void *context) {
    HANDLE helpers[MOST];
    Task task = {work, context};
    int started = 0;
    while (started < threads - 1 && started < MOST) {
        uintptr_t handle = _beginthreadex(NULL, 0, helper, &task, 0, NULL);
        if (handle == 0) break;
        helpers[started++] = (HANDLE)handle;
    }
    work(context, 1);
    for (int i = 0; i < started; i++) {
        WaitForSingleObject(helpers[i], INFINITE);
        CloseHandle(helpers[i]);
    }
}

#else

#include <pthread.h>
#include <signal.h>

static void *helper(void *task_) {
    Task *task = task_;
    task->work(task->context, 0);
    return NULL;
}

void run_threads(int threads, Work *work, void *context) {
    pthread_t helpers[MOST];
    Task task = {work, context};
    int started = 0;
    if (threads > 1) {
        /* Helpers inherit a mask under which signals go to the interpreter's own threads. */
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        while (started < threads - 1 && started < MOST) {
            if (pthread_create(&helpers[started], NULL, helper, &task)) break;
            started++;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    work(context, 1);
    for (int i = 0; i < started; i++) pthread_join(helpers[i], NULL);
}

#endif
