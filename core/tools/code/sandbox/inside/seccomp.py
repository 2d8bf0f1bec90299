"""The seccomp filter of a sandbox: an allow list of system calls as a program of the kernel's
packet filter machine, and how this process loads it for good.

https://docs.kernel.org/userspace-api/seccomp_filter.html; the machine:
https://docs.kernel.org/networking/filter.html. `struct seccomp_data` is int nr, u32 architecture,
u64 instruction pointer, u64 arguments[6]. Loading:
https://man7.org/linux/man-pages/man2/seccomp.2.html.

The tables of calls give each one's number on x86_64 and aarch64, written `name=x86_64/aarch64`, a
dash where it does not exist. Numbers: the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and
`include/uapi/asm-generic/unistd.h`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .kernel_calls import PR_SET_NO_NEW_PRIVS, call, prctl

# https://github.com/torvalds/linux/blob/master/include/uapi/linux/audit.h: AUDIT_ARCH_*.
ARCHITECTURES: Mapping[str, tuple[int, int]] = {
    "x86_64": (0, 0xC000003E),
    "aarch64": (1, 0xC00000B7),
}
"""By `uname -m`: the column of the tables, and the kernel's name of the architecture."""


def parse_numbers(table: str, column: int) -> dict[str, int]:
    """`column` is 0 for x86_64, 1 for aarch64. A call that the machine lacks (`-`) is left out."""
    numbers = {}
    for entry in table.split():
        name, both = entry.split("=")
        number = both.split("/")[column]
        if number != "-":
            numbers[name] = int(number)
    return numbers


ALLOWED_CALLS = """
    read=0/63 write=1/64 readv=19/65 writev=20/66 pread64=17/67 pwrite64=18/68 preadv=295/69
    pwritev=296/70 preadv2=327/286 pwritev2=328/287 creat=85/- close=3/57
    lseek=8/62 stat=4/- fstat=5/80 lstat=6/- newfstatat=262/79 statx=332/291 access=21/-
    faccessat=269/48 faccessat2=439/439 readlink=89/- readlinkat=267/78 getdents=78/-
    getdents64=217/61 getcwd=79/17 chdir=80/49 fchdir=81/50 rmdir=84/- unlink=87/-
    unlinkat=263/35 rename=82/- renameat=264/38 renameat2=316/276 link=86/- linkat=265/37
    symlink=88/- symlinkat=266/36 ftruncate=77/46 fsync=74/82 fdatasync=75/83
    fadvise64=221/223 dup=32/23 dup2=33/- dup3=292/24 pipe=22/- pipe2=293/59 flock=73/32
    statfs=137/43 fstatfs=138/44 copy_file_range=326/285 sendfile=40/71
    mmap=9/222 munmap=11/215 mprotect=10/226 mremap=25/216 madvise=28/233 brk=12/214
    msync=26/227 membarrier=324/283
    futex=202/98 set_robust_list=273/99 set_tid_address=218/96 rseq=334/293 exit=60/93
    exit_group=231/94 sched_yield=24/124 sched_getaffinity=204/123 sched_getparam=143/121
    sched_getscheduler=145/120 sched_get_priority_max=146/125 sched_get_priority_min=147/126
    getpriority=140/141 arch_prctl=158/-
    rt_sigaction=13/134 rt_sigprocmask=14/135 rt_sigreturn=15/139 rt_sigpending=127/136
    rt_sigtimedwait=128/137 rt_sigsuspend=130/133 sigaltstack=131/132 restart_syscall=219/128
    pause=34/- wait4=61/260 waitid=247/95
    nanosleep=35/101 clock_nanosleep=230/115 clock_gettime=228/113 clock_getres=229/114
    gettimeofday=96/169 time=201/- times=100/153 getitimer=36/102 setitimer=38/103 alarm=37/-
    timer_create=222/107 timer_settime=223/110 timer_gettime=224/108 timer_getoverrun=225/109
    timer_delete=226/111 timerfd_create=283/85 timerfd_settime=286/86 timerfd_gettime=287/87
    poll=7/- ppoll=271/73 select=23/- pselect6=270/72 epoll_create=213/- epoll_create1=291/20
    epoll_ctl=233/21 epoll_wait=232/- epoll_pwait=281/22 epoll_pwait2=441/441 eventfd=284/-
    eventfd2=290/19
    getpid=39/172 getppid=110/173 gettid=186/178 getuid=102/174 geteuid=107/175 getgid=104/176
    getegid=108/177 getresuid=118/148 getresgid=120/150 getgroups=115/158 getpgid=121/155
    getpgrp=111/- getsid=124/156 getrlimit=97/163 setrlimit=160/164 getrusage=98/165
    sysinfo=99/179 uname=63/160 getrandom=318/278 getcpu=309/168 capget=125/90
"""
"""Calls of a program that computes, draws, and reads and writes its own files."""

REFUSED_CALLS = """
    fork=57/- vfork=58/- execve=59/221 execveat=322/281 socket=41/198 socketpair=53/199
    bind=49/200 connect=42/203 listen=50/201 accept=43/202 accept4=288/242 sendto=44/206
    recvfrom=45/207 sendmsg=46/211 recvmsg=47/212 sendmmsg=307/269 recvmmsg=299/243
    shutdown=48/210 getsockname=51/204 getpeername=52/205 setsockopt=54/208 getsockopt=55/209
    ptrace=101/117 process_vm_readv=310/270 process_vm_writev=311/271 process_madvise=440/440
    kcmp=312/272 tkill=200/130 rt_sigqueueinfo=129/138 rt_tgsigqueueinfo=297/240
    pidfd_open=434/434 pidfd_getfd=438/438 pidfd_send_signal=424/424
    memfd_create=319/279 memfd_secret=447/447 shmget=29/194 shmat=30/196 shmctl=31/195
    shmdt=67/197 msgget=68/186 semget=64/190 mq_open=240/180 mlock=149/228 mlockall=151/230
    mlock2=325/284
    unshare=272/97 setns=308/268 mount=165/40 umount2=166/39 pivot_root=155/41 chroot=161/51
    move_mount=429/429 open_tree=428/428 fsopen=430/430 fsconfig=431/431 fsmount=432/432
    fspick=433/433 mount_setattr=442/442
    setuid=105/146 setgid=106/144 setreuid=113/145 setregid=114/143 setresuid=117/147
    setresgid=119/149 setfsuid=122/151 setfsgid=123/152 setgroups=116/159 capset=126/91
    personality=135/92 seccomp=317/277 setsid=112/157 setpgid=109/154 setpriority=141/140
    ioprio_set=251/30 sched_setaffinity=203/122 sched_setscheduler=144/119
    sched_setparam=142/118 sched_setattr=314/274
    bpf=321/280 perf_event_open=298/241 userfaultfd=323/282 io_uring_setup=425/425
    io_uring_enter=426/426 io_uring_register=427/427 keyctl=250/219 add_key=248/217
    request_key=249/218
    chown=92/- fchown=93/55 lchown=94/- fchownat=260/54 mknod=133/- mknodat=259/33
    truncate=76/45 inotify_init=253/- inotify_init1=294/26 inotify_add_watch=254/27
    fanotify_init=300/262 fanotify_mark=301/263 name_to_handle_at=303/264
    open_by_handle_at=304/265 quotactl=179/60
    sethostname=170/161 setdomainname=171/162 settimeofday=164/170 clock_settime=227/112
    adjtimex=159/171 clock_adjtime=305/266 syslog=103/116 acct=163/89 reboot=169/142
    swapon=167/224 swapoff=168/225 init_module=175/105 finit_module=313/273
    delete_module=176/106 kexec_load=246/104 kexec_file_load=320/294 iopl=172/- ioperm=173/-
    modify_ldt=154/- vhangup=153/58 landlock_create_ruleset=444/444 landlock_add_rule=445/445
    landlock_restrict_self=446/446
"""
"""EPERM, so that Python raises PermissionError.

They reach other processes, the network or the system, or take memory that no limit counts. A call
that is in no list gets ENOSYS, including those that do not exist yet.
"""

IGNORED_CALLS = """
    chmod=90/- fchmod=91/52 fchmodat=268/53 fchmodat2=452/452 utime=132/- utimes=235/-
    utimensat=280/88 futimesat=261/- umask=95/166
"""
"""These succeed and do nothing: they change the modes and times of files.

Landlock does not govern them (https://docs.kernel.org/userspace-api/landlock.html, "Current
limitations"), and copying a file needs them.
"""

UNSUPPORTED_CALLS = """
    setxattr=188/5 lsetxattr=189/6 fsetxattr=190/7 getxattr=191/8 lgetxattr=192/9
    fgetxattr=193/10 listxattr=194/11 llistxattr=195/12 flistxattr=196/13 removexattr=197/14
    lremovexattr=198/15 fremovexattr=199/16 fallocate=285/47
"""
"""ENOTSUP, which `shutil` accepts for extended attributes.

fallocate takes disk space in one call, faster than it can be measured and beyond RLIMIT_FSIZE;
posix_fallocate(3) then writes the space itself.
"""

CHECKED_CALLS = """
    open=2/- openat=257/56 mkdir=83/- mkdirat=258/34 clone=56/220 fcntl=72/25 ioctl=16/29
    prctl=157/167 kill=62/129 tgkill=234/131 prlimit64=302/261 close_range=436/436
"""
"""Calls that are decided by their arguments; see `filter.py`."""


LOAD, JUMP_EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06
"""Instructions of a filter (BPF): load a word, compare it, mask it, return an answer."""
KILL = 0x8000_0000  # SECCOMP_RET_KILL_PROCESS
ERRNO = 0x0005_0000
ALLOW = 0x7FFF_0000
"""Answers: an error, to whose code its number is added; and to let the call pass."""
NUMBER, ARCHITECTURE = 0, 4
"""Where the number of the call and its architecture are in what a filter reads."""

CLONE_THREAD, CLONE_FILES = 0x0001_0000, 0x400
CLOSE_RANGE_CLOEXEC = 4
NEW_NAMESPACES = 0x7E02_0000
O_TRUNC, O_ACCMODE = 0o1000, 0o3
OWNER_BITS = 0o700

# F_DUPFD to F_SETFL, F_GETLK, F_OFD_GETLK, F_DUPFD_CLOEXEC, F_GETPIPE_SZ. Not F_SETOWN and
# F_SETSIG, which have the kernel send any signal to any process of the same user.
FCNTL = (0, 1, 2, 3, 4, 5, 36, 1030, 1032)
# F_SETLK and F_SETLKW succeed and do nothing: record locks hold memory that no limit counts
# (getrlimit(2): RLIMIT_LOCKS is of Linux 2.4 alone), and never keep a process from its own files.
LOCKS = (6, 7)
IOCTL = (0x541B, 0x5421, 0x5450, 0x5451)  # FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
PRCTL = (3, 15, 16, 0x53564D41)  # PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA


class UnknownMachine(Exception):
    """This processor has no table of system calls, so nothing may run here."""


class FilterStep(NamedTuple):
    """One instruction of the seccomp filter, in the kernel's language for packet filters (BPF)."""

    code: int
    if_true: int
    if_false: int
    value: int


def build_filter(machine: str, pid: int) -> list[FilterStep]:
    """Return the seccomp filter that process `pid` of the sandbox loads, on the kind of machine
    that `uname -m` calls `machine`. Raise UnknownMachine.

    The filter allows the system calls of a program that computes and handles its own files, some of
    them only with certain arguments, and signals only to `pid` itself. Other calls get an error, or
    succeed without an effect.

    First it kills a process that uses another architecture's numbers. Then it compares the number
    of the call with each number in the tables. The second value of a comparison (JUMP_EQUAL) is how
    many of the next steps are skipped if both are equal, the third one if they are not.
    """
    if machine not in ARCHITECTURES:
        raise UnknownMachine(machine)
    column, architecture = ARCHITECTURES[machine]
    steps = [
        FilterStep(LOAD, 0, 0, ARCHITECTURE),
        FilterStep(JUMP_EQUAL, 1, 0, architecture),
        FilterStep(RETURN, 0, 0, KILL),
        FilterStep(LOAD, 0, 0, NUMBER),
    ]
    for table, answer in _ANSWER_BY_TABLE:
        for number in parse_numbers(table, column).values():
            steps += [FilterStep(JUMP_EQUAL, 0, 1, number), FilterStep(RETURN, 0, 0, answer)]
    for name, number in parse_numbers(CHECKED_CALLS, column).items():
        # The block always ends in a return, so no call that is checked goes on to the last step.
        block = _check_arguments(name, pid)
        steps += [FilterStep(JUMP_EQUAL, 0, len(block), number), *block]
    # Numbers of the x32 interface have bit 30, and are in no table. glibc asks for threads with
    # clone3 first and takes ENOSYS for "use clone": its flags lie in memory, where a filter cannot
    # see them.
    return [*steps, FilterStep(RETURN, 0, 0, ERRNO | errno.ENOSYS)]


_ANSWER_BY_TABLE = (
    (ALLOWED_CALLS, ALLOW),
    (REFUSED_CALLS, ERRNO | errno.EPERM),
    (IGNORED_CALLS, ERRNO),
    (UNSUPPORTED_CALLS, ERRNO | errno.ENOTSUP),
)


def _check_arguments(name: str, pid: int) -> list[FilterStep]:
    """Return the steps that check the arguments of the call `name`, and always end in a return.
    `pid` is the only process to which the sandbox may send signals: itself. FCNTL, IOCTL and PRCTL
    list the commands that are allowed."""
    match name:
        case "open" | "openat":
            # Before Linux 6.2 Landlock lets a file be emptied that can only be read.
            return [
                # Both access modes that do not write: to read, and 3, which is neither (open(2)).
                *_masked_argument(2 if name == "openat" else 1, O_TRUNC | O_ACCMODE),
                *_return_if(O_TRUNC, ERRNO | errno.EPERM),
                *_return_if(O_TRUNC | O_ACCMODE, ERRNO | errno.EPERM),
                FilterStep(RETURN, 0, 0, ALLOW),
            ]
        case "mkdir" | "mkdirat":
            # So that no folder arises that its own owner, who has to remove it, cannot enter.
            mode = _masked_argument(2 if name == "mkdirat" else 1, OWNER_BITS)
            return _allow_if(mode, (OWNER_BITS,), errno.EPERM)
        case "clone":
            # Only a thread with the same table of open files and namespaces: RLIMIT_NOFILE counts
            # each table alone, and the check of the disk finds only one table in /proc.
            thread = CLONE_THREAD | CLONE_FILES
            return _allow_if(_masked_argument(0, thread | NEW_NAMESPACES), (thread,), errno.EPERM)
        case "close_range":
            # Not CLOSE_RANGE_UNSHARE, which gives the thread a table of open files of its own.
            return _allow_if(_argument(2), (0, CLOSE_RANGE_CLOEXEC), errno.EPERM)
        case "fcntl":
            # ERRNO with the number 0: locks succeed, and do nothing.
            free = [step for lock in LOCKS for step in _return_if(lock, ERRNO)]
            return _allow_if([*_argument(1), *free], FCNTL, errno.EPERM)
        case "ioctl":
            # ENOTTY is Linux's own answer to a command that a file does not know.
            return _allow_if(_argument(1), IOCTL, errno.ENOTTY)
        case "prctl":
            return _allow_if(_argument(0), PRCTL, errno.EPERM)
        case "prlimit64":  # 0 stands for the process itself
            return _allow_if(_argument(0), (0,), errno.EPERM)
        case _:  # kill, tgkill
            return _allow_if(_argument(0), (pid,), errno.EPERM)


def _argument(index: int) -> list[FilterStep]:
    # All arguments that are checked are 32 bits wide for the kernel: the low half is loaded.
    return [FilterStep(LOAD, 0, 0, 16 + 8 * index)]


def _masked_argument(index: int, mask: int) -> list[FilterStep]:
    return [*_argument(index), FilterStep(AND, 0, 0, mask)]


def _return_if(value: int, answer: int) -> list[FilterStep]:
    return [FilterStep(JUMP_EQUAL, 0, 1, value), FilterStep(RETURN, 0, 0, answer)]


def _allow_if(load: list[FilterStep], values: tuple[int, ...], error: int) -> list[FilterStep]:
    steps = list(load)
    for value in values:
        steps += _return_if(value, ALLOW)
    return [*steps, FilterStep(RETURN, 0, 0, ERRNO | error)]


SECCOMP = {"x86_64": 317, "aarch64": 277}
SET_MODE_FILTER = 1
ALL_THREADS = 1  # SECCOMP_FILTER_FLAG_TSYNC


class _Instruction(ctypes.Structure):  # struct sock_filter
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):  # struct sock_fprog
    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Instruction)))


def install() -> None:
    """Raise OSError if the kernel has no filters, UnknownMachine for a processor without a table of
    calls."""
    machine = os.uname().machine
    load(machine, build_filter(machine, os.getpid()))


def load(machine: str, steps: Sequence[FilterStep]) -> None:
    """Load these steps as the seccomp filter of this process. It can never be removed again. Raise
    OSError."""
    array = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    whole = _Program(len(steps), array)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    address = ctypes.cast(ctypes.pointer(whole), ctypes.c_void_p)
    if call(SECCOMP[machine], SET_MODE_FILTER, ALL_THREADS, address):
        raise OSError("a thread of this process cannot be filtered")
