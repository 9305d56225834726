// Stand-ins for the primitives of an ECP5 that a DDR3 PHY is made of: no free simulator has models of them.
//
// They are digital: time is cut into halves of a period of ECLK, which is a bit on the data lines. What leaves for the
// memory leaves in the same half period on all lines, but data a half period behind commands and strobes, so that the
// memory sees it under its strobe. How many periods lie between a primitive's two sides is chosen so that LiteDRAM's
// PHY, whose counts are those of real parts, meets the latencies that it sets in the memory.
//
// Reading is where a part differs from the next: the strobes of a burst must begin between two times after the gate for
// them was opened, which READCLKSEL moves in steps of a quarter of a period. If they do not, BURSTDET stays low and
// what comes of that lane is noise. DQSBUFM tells IDDRX2DQA so by its pointers, which mean nothing else here.

`default_nettype none

// Four bits a period of SCLK, one in each half period of ECLK, from the first period behind the one they came in, or
// PERIODS - 1 later.
module ecp5_ddr_out #(parameter PERIODS = 1) (input wire [3:0] D, input wire SCLK, ECLK, RST, output reg Q);
    reg [3:0] taken, going;
    reg half;
    initial begin taken = 0; going = 0; half = 0; Q = 0; end
    always @(posedge SCLK) taken <= RST ? 0 : D;
    always @(posedge ECLK) Q <= !RST & (half ? going[2] : going[0]);
    // SCLK is at rest here, and tells which half of its period this is.
    always @(negedge ECLK) begin
        half <= SCLK;
        Q <= !RST & (SCLK ? going[1] : going[3]);
        if (RST) going <= 0;
        else if (!SCLK) going <= PERIODS == 1 ? D : taken;
    end
endmodule

// The same a half period later.
module ecp5_ddr_out_late (input wire [3:0] D, input wire SCLK, ECLK, RST, output reg Q);
    wire early;
    ecp5_ddr_out out (.D(D), .SCLK(SCLK), .ECLK(ECLK), .RST(RST), .Q(early));
    initial Q = 0;
    always @(posedge ECLK or negedge ECLK) Q <= !RST & early;
endmodule

module ODDRX2F (input wire D0, D1, D2, D3, SCLK, ECLK, RST, output wire Q);
    ecp5_ddr_out #(.PERIODS(2)) out (.D({D3, D2, D1, D0}), .SCLK(SCLK), .ECLK(ECLK), .RST(RST), .Q(Q));
endmodule

module ODDRX2DQSB (input wire D0, D1, D2, D3, SCLK, ECLK, RST, DQSW, output wire Q);
    ecp5_ddr_out out (.D({D3, D2, D1, D0}), .SCLK(SCLK), .ECLK(ECLK), .RST(RST), .Q(Q));
endmodule

module TSHX2DQSA (input wire T0, T1, SCLK, ECLK, RST, DQSW, output wire Q);
    ecp5_ddr_out out (.D({T1, T1, T0, T0}), .SCLK(SCLK), .ECLK(ECLK), .RST(1'b0), .Q(Q));
endmodule

module ODDRX2DQA (input wire D0, D1, D2, D3, SCLK, ECLK, RST, DQSW270, output wire Q);
    ecp5_ddr_out_late out (.D({D3, D2, D1, D0}), .SCLK(SCLK), .ECLK(ECLK), .RST(RST), .Q(Q));
endmodule

module TSHX2DQA (input wire T0, T1, SCLK, ECLK, RST, DQSW270, output wire Q);
    ecp5_ddr_out_late out (.D({T1, T1, T0, T0}), .SCLK(SCLK), .ECLK(ECLK), .RST(1'b0), .Q(Q));
endmodule

module DELAYG #(parameter DEL_MODE = "USER_DEFINED", DEL_VALUE = 0) (input wire A, output wire Z);
    assign Z = A;
endmodule

module DDRDLLA (input wire RST, CLK, UDDCNTLN, FREEZE, output wire DDRDEL, output reg LOCK);
    reg [6:0] count;
    initial begin count = 0; LOCK = 0; end
    assign DDRDEL = 0;
    always @(posedge CLK or posedge RST)
        if (RST) begin
            count <= 0; LOCK <= 0;
        end else begin
            count <= count + 1;
            if (&count) LOCK <= 1;
        end
endmodule

module DQSBUFM #(
    parameter DQS_LI_DEL_ADJ = "", DQS_LI_DEL_VAL = 0, DQS_LO_DEL_ADJ = "", DQS_LO_DEL_VAL = 0
) (
    input wire DDRDEL, DQSI, ECLK, SCLK, RST, PAUSE, READ0, READ1, READCLKSEL0, READCLKSEL1, READCLKSEL2,
    input wire RDLOADN, RDMOVE, RDDIRECTION, WRLOADN, WRMOVE, WRDIRECTION,
    output wire DQSR90, DQSW, DQSW270, DATAVALID, BURSTDET,
    output wire RDPNTR0, RDPNTR1, RDPNTR2, WRPNTR0, WRPNTR1, WRPNTR2
);
    // Quarters of a period from the gate to the first strobe of a burst: the gate must open in the preamble, not long
    // before it. The strobes come with halves of a period, two of which are right with each setting.
    localparam LEAST = 6;
    reg was_read, was_high, was_high_before, good;
    reg [31:0] opened;                  // bit n: the gate was opened n + 1 half periods ago
    reg [4:0] seen;
    wire [4:0] first = (LEAST + 1 + {READCLKSEL2, READCLKSEL1, READCLKSEL0}) >> 1;
    wire in_time = opened[first] | opened[first + 5'd1];
    initial begin was_read = 0; was_high = 0; was_high_before = 0; good = 0; opened = 0; seen = 0; end
    always @(posedge ECLK or negedge ECLK) begin
        was_read <= READ0;
        was_high <= DQSI;
        was_high_before <= was_high;
        opened <= {opened[30:0], READ0 & !was_read};
        if (seen != 0) seen <= seen - 1;
        // Strobes at rest before: a burst's first.
        if (DQSI && !was_high && !was_high_before) begin
            good <= in_time;
            if (in_time) seen <= 16;
        end
    end
    assign BURSTDET = seen != 0;
    assign {RDPNTR2, RDPNTR1, RDPNTR0} = {3{!good}};
    assign {WRPNTR2, WRPNTR1, WRPNTR0, DQSR90, DQSW, DQSW270, DATAVALID} = 0;
endmodule

module IDDRX2DQA (
    input wire D, SCLK, ECLK, RST, DQSR90, RDPNTR0, RDPNTR1, RDPNTR2, WRPNTR0, WRPNTR1, WRPNTR2,
    output wire Q0, Q1, Q2, Q3
);
    localparam PERIODS = 4;
    reg [4*PERIODS-1:0] words;
    reg [5:0] bits;
    reg [15:0] noise;
    initial begin words = 0; bits = 0; noise = 16'h1d2b; end
    // Whether the strobes came in time is known two half periods after they did.
    always @(posedge ECLK or negedge ECLK) begin
        noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
        bits <= {D, bits[5], RDPNTR0 ? noise[3] : bits[4], bits[3:1]};
    end
    always @(posedge SCLK) words <= {bits[3:0], words[4*PERIODS-1:4]};
    assign {Q3, Q2, Q1, Q0} = words[3:0];
endmodule

module ECLKSYNCB (input wire ECLKI, STOP, output wire ECLKO);
    reg runs;
    initial runs = 1;
    always @(negedge ECLKI) runs <= !STOP;
    assign ECLKO = ECLKI & runs;
endmodule

module CLKDIVF #(parameter DIV = "2.0") (input wire CLKI, RST, ALIGNWD, output reg CDIVX);
    initial CDIVX = 0;
    always @(posedge CLKI or posedge RST)
        if (RST) CDIVX <= 0;
        else CDIVX <= !CDIVX;
endmodule

`default_nettype wire
