// Macros as those of <windows.h> are there before everything else and are in nobody's way, min and max included.
#define ABSOLUTE 1
#define BOOL int
#define CALLBACK
#define CONST const
#define CreateFile CreateFileA
#define DELETE (0x00010000L)
#define DWORD unsigned
#define ERROR 0
#define FALSE 0
#define FAR far
#define GetCurrentTime() 0
#define GetMessage GetMessageA
#define GetObject GetObjectA
#define GetUserName GetUserNameA
#define IGNORE 0
#define IN
#define INFINITE 0xFFFFFFFF
#define INTERFACE
#define MessageBox MessageBoxA
#define NEAR near
#define NOERROR 0
#define NO_ERROR 0L
#define OPTIONAL
#define OUT
#define PASCAL
#define RELATIVE 2
#define STRICT 1
#define SendMessage SendMessageA
#define THIS
#define TRUE 1
#define VOID void
#define Yield()
#define cdecl
#define far
#define hyper int
#define interface struct
#define near
#define pascal
#define small char
// What Asio has not silenced for itself is its users' business: they write (std::min)(a, b).
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define min(a, b) (((a) < (b)) ? (a) : (b))

#include "kettlingar.hpp"
#include "use.hpp"

#if !defined(ERROR) || !defined(small) || !defined(interface)
#error "a macro is gone"
#endif
