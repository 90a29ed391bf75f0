/* Descriptors that ambit opens itself: here, so that running out of them can be tested. */
#ifndef AMBIT_BASE_FILE_H
#define AMBIT_BASE_FILE_H

/* A non-blocking eventfd, closed on exec; -1 if there is none left. */
int ambit__eventfd(void);

#endif
