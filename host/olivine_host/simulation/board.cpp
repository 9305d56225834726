// Drives board.v: its clocks, and the host's end of its serial line, whose bytes come from and go to a file descriptor.
//
// Arguments: +fd=N the descriptor, +divisor=N cycles of the core's clock for a bit; +core_ps=N, +dram_ps=N and +pin_ps=N
// periods of the clocks.
//
// It runs as fast as it can while bytes move, a program runs or memory becomes ready, and rests otherwise. It ends when
// its standard input does, and prints what the memory chip counted.

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <poll.h>
#include <string>
#include <unistd.h>

#include "Vharness.h"
#include "verilated.h"

namespace {

constexpr int READY = 1 << 1, RUNNING = 1 << 2;
constexpr uint64_t RESTS_AFTER = 200000;    // cycles in which nothing happens
constexpr uint64_t TIRES_AFTER = 2000000;   // such cycles while memory is not ready: the host has to do something
constexpr uint64_t LOOKS_EVERY = 512;       // cycles between two looks at the descriptors

struct Line {
    int divisor;
    std::deque<uint8_t> coming;             // from the host, not yet on the line
    std::string going;                      // from the design, not yet with the host
    int send_bit = -1, send_left = 0, take_bit = -1, take_left = 0;
    unsigned send = 0, taken = 0;
    uint64_t bytes_in = 0, bytes_out = 0, framing = 0;

    bool quiet() const { return coming.empty() && going.empty() && send_bit < 0 && take_bit < 0; }

    // The level on the design's receiver in the next cycle.
    int to_design() {
        if (send_bit < 0) {
            if (coming.empty()) return 1;
            send = 0x200 | coming.front() << 1;
            coming.pop_front();
            bytes_in++;
            send_bit = 0;
            send_left = divisor;
        }
        int level = send >> send_bit & 1;
        if (--send_left == 0) {
            send_left = divisor;
            if (++send_bit == 10) send_bit = -1;
        }
        return level;
    }

    // The level on the design's transmitter in this cycle.
    void from_design(int level) {
        if (take_bit < 0) {
            if (level) return;
            take_bit = 0;
            take_left = divisor / 2;
            taken = 0;
        }
        if (take_left-- > 0) return;
        take_left = divisor - 1;
        taken |= level << take_bit;
        if (++take_bit < 10) return;
        take_bit = -1;
        if (taken & 1 || !(taken & 0x200)) {
            framing++;
            return;
        }
        going.push_back(static_cast<char>(taken >> 1));
        bytes_out++;
    }
};

uint64_t argument(VerilatedContext& context, const char* name, uint64_t otherwise) {
    const std::string found = context.commandArgsPlusMatch(name);
    const auto equals = found.find('=');
    return equals == std::string::npos ? otherwise : strtoull(found.c_str() + equals + 1, nullptr, 10);
}

// Moves bytes between line and descriptor; waits for something to move if it may rest. False at the end of all.
bool exchange(int fd, Line& line, bool rest) {
    pollfd ends[2] = {{fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    if (!line.going.empty()) ends[0].events |= POLLOUT;
    if (poll(ends, 2, rest ? -1 : 0) < 0) return errno == EINTR;
    char buffer[4096];
    if (ends[1].revents && read(STDIN_FILENO, buffer, sizeof buffer) <= 0) return false;
    // Not more than the line has room for: the host's system then makes it wait.
    if (ends[0].revents & POLLIN && line.coming.size() < sizeof buffer) {
        const ssize_t count = read(fd, buffer, sizeof buffer);
        for (ssize_t i = 0; i < count; i++) line.coming.push_back(static_cast<uint8_t>(buffer[i]));
    }
    if (ends[0].revents & POLLOUT) {
        const ssize_t count = write(fd, line.going.data(), line.going.size());
        if (count > 0) line.going.erase(0, static_cast<size_t>(count));
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vharness top{&context};
    Line line{static_cast<int>(argument(context, "divisor", 8))};
    const int fd = static_cast<int>(argument(context, "fd", 0));
    const uint64_t core_half = argument(context, "core_ps", 13334) / 2;
    const uint64_t dram_half = argument(context, "dram_ps", 13332) / 2;
    const uint64_t pin_half = argument(context, "pin_ps", 13332) / 2;
    uint64_t core_next = core_half, dram_next = dram_half, pin_next = dram_half + dram_half / 2, cycle = 0, quiet = 0;
    top.rx = 1;
    top.eval();
    bool alive = true;
    while (alive && !context.gotFinish()) {
        const uint64_t now = std::min(core_next, std::min(dram_next, pin_next));
        context.time(now);
        bool edge = false;
        if (now == core_next) {
            edge = top.core_clk = !top.core_clk;
            core_next += core_half;
        }
        if (now == dram_next) {
            top.dram_clk = !top.dram_clk;
            dram_next += dram_half;
        }
        if (now == pin_next) {
            top.dram_pin_clk = !top.dram_pin_clk;
            pin_next += pin_half;
        }
        top.eval();
        if (!edge) continue;
        // Behind the edge: seen by the design at the next one.
        top.locked = ++cycle > 16;
        line.from_design(top.tx);
        top.rx = line.to_design();
        quiet = line.quiet() && !(top.leds & RUNNING) ? quiet + 1 : 0;
        const bool rests = quiet > (top.leds & READY ? RESTS_AFTER : TIRES_AFTER);
        if (rests || cycle % LOOKS_EVERY == 0) alive = exchange(fd, line, rests);
    }
    top.final();
    printf("ended %llu %llu %llu %llu %u %u %u %u %u %u\n", static_cast<unsigned long long>(cycle),
           static_cast<unsigned long long>(line.bytes_in), static_cast<unsigned long long>(line.bytes_out),
           static_cast<unsigned long long>(line.framing), top.errors, top.restarts, top.refreshes, top.activates, top.reads,
           top.writes);
    return 0;
}
