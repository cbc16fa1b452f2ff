/* descriptor.h: file descriptors of our own stay off the three standard numbers. */
#ifndef MILLET_CORE_DESCRIPTOR_H
#define MILLET_CORE_DESCRIPTOR_H

/* fd, or a copy above the standard ones in its place when a standard one was closed and open()
 * gave us its number: what another part prints to standard error must not land in a model. -1 with
 * errno passes through. */
int descriptor_above_standard(int fd);

#endif
