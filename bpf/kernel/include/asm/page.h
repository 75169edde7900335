// SPDX-License-Identifier: GPL-2.0-or-later
/* Empty on purpose: included by bcc, used by nothing here. */
