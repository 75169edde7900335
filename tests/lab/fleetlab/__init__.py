# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory: a fleet of Debian hosts in network namespaces of this machine."""
