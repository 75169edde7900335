// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bcc only asks whether the kernel is older than features that every kernel
 * of the test matrix has.
 */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(6, 1, 0)
