// SPDX-License-Identifier: GPL-2.0-or-later
/* The kernel tree's place for what linux-libc-dev installs elsewhere. */
#include </usr/include/linux/if_ether.h>
