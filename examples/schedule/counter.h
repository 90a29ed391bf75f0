#ifndef COUNTER_H
#define COUNTER_H
void counter_add(void);
int counter_read(void);
#endif
