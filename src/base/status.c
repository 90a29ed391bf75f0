#include "ambit/status.h"

const char *ambit_strerror(ambit_status status) {
    switch (status) {
    case AMBIT_OK:
        return "ok";
    case AMBIT_EXISTS:
        return "the key already has a value in this context";
    case AMBIT_CANCELLED:
        return "the context was cancelled";
    case AMBIT_TIMED_OUT:
        return "the context's deadline has passed";
    case AMBIT_BUSY:
        return "something is still in use";
    case AMBIT_EMEMORY:
        return "out of memory";
    case AMBIT_EBUDGET:
        return "the context's byte budget would be exceeded";
    case AMBIT_ETHREAD:
        return "no thread could be started";
    case AMBIT_EFILES:
        return "no file descriptor was left";
    case AMBIT_EINVALID:
        return "an argument is out of range";
    case AMBIT_EWRITE:
        return "the writer refused the text";
    }
    return "not a status of ambit";
}
