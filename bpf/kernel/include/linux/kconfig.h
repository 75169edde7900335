// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bcc includes this before anything else. A host needs no kernel headers: the
 * programs use uapi headers only, and these are the names that bcc's own
 * headers expect from the kernel's.
 */
#ifndef KATRAN_KCONFIG_H
#define KATRAN_KCONFIG_H

#define CONFIG_BPF_SYSCALL 1

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef _Bool bool;

#define true 1
#define false 0

#endif
