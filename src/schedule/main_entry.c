/* The main() of a program that has none of its own: in an object of its own, so that a linker
 * leaves it out where there is one. */
#include "ambit/schedule.h"

int main(int argc, char **argv) __attribute__((weak));
int main(int argc, char **argv) { return ambit_schedule_main(argc, argv); }
