// DP16KD of Lattice ECP5, as far as Yosys uses it: a block memory of 1,024 words of 18 bits with two ports, each 1, 2, 4,
// 9 or 18 bits wide; or one port that writes (A) and one that reads (B), either of them 36 bits wide.
//
// After FPGA-TN-02204 (memory usage guide). What is not modelled is refused, at time zero: output registers, decoded
// chip selects. A port that reads what the other writes in the same cycle gets X: the chip promises nothing.

module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
    input DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5,
    input ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
    output DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
    input DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5,
    input ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
    output DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED", WID = 0;
    parameter
        INITVAL_00 = 320'h0, INITVAL_01 = 320'h0, INITVAL_02 = 320'h0, INITVAL_03 = 320'h0,
        INITVAL_04 = 320'h0, INITVAL_05 = 320'h0, INITVAL_06 = 320'h0, INITVAL_07 = 320'h0,
        INITVAL_08 = 320'h0, INITVAL_09 = 320'h0, INITVAL_0A = 320'h0, INITVAL_0B = 320'h0,
        INITVAL_0C = 320'h0, INITVAL_0D = 320'h0, INITVAL_0E = 320'h0, INITVAL_0F = 320'h0,
        INITVAL_10 = 320'h0, INITVAL_11 = 320'h0, INITVAL_12 = 320'h0, INITVAL_13 = 320'h0,
        INITVAL_14 = 320'h0, INITVAL_15 = 320'h0, INITVAL_16 = 320'h0, INITVAL_17 = 320'h0,
        INITVAL_18 = 320'h0, INITVAL_19 = 320'h0, INITVAL_1A = 320'h0, INITVAL_1B = 320'h0,
        INITVAL_1C = 320'h0, INITVAL_1D = 320'h0, INITVAL_1E = 320'h0, INITVAL_1F = 320'h0,
        INITVAL_20 = 320'h0, INITVAL_21 = 320'h0, INITVAL_22 = 320'h0, INITVAL_23 = 320'h0,
        INITVAL_24 = 320'h0, INITVAL_25 = 320'h0, INITVAL_26 = 320'h0, INITVAL_27 = 320'h0,
        INITVAL_28 = 320'h0, INITVAL_29 = 320'h0, INITVAL_2A = 320'h0, INITVAL_2B = 320'h0,
        INITVAL_2C = 320'h0, INITVAL_2D = 320'h0, INITVAL_2E = 320'h0, INITVAL_2F = 320'h0,
        INITVAL_30 = 320'h0, INITVAL_31 = 320'h0, INITVAL_32 = 320'h0, INITVAL_33 = 320'h0,
        INITVAL_34 = 320'h0, INITVAL_35 = 320'h0, INITVAL_36 = 320'h0, INITVAL_37 = 320'h0,
        INITVAL_38 = 320'h0, INITVAL_39 = 320'h0, INITVAL_3A = 320'h0, INITVAL_3B = 320'h0,
        INITVAL_3C = 320'h0, INITVAL_3D = 320'h0, INITVAL_3E = 320'h0, INITVAL_3F = 320'h0;

    localparam PAIR = DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36;
    localparam [64*320-1:0] INITIAL = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
        INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
        INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
        INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
        INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};

    reg [17:0] words [0:1023];
    integer position;
    initial begin
        for (position = 0; position < 1024; position = position + 1)
            words[position] = INITIAL[20*position +: 18];
        if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CSDECODE_A != "0b000" || CSDECODE_B != "0b000"
                || (RESETMODE != "SYNC" && RESETMODE != "ASYNC"))
            $fatal(1, "DP16KD: a parameter has a value that the model does not know");
    end

    // The least significant bit of an access within its word; bits 13 to 4 of the address are the word's.
    function [4:0] lowest(input [3:0] address, input integer width);
        lowest = (width <= 9 ? 9 * address[3] : 0) + (width <= 4 ? 4 * address[2] : 0)
            + (width <= 2 ? 2 * address[1] : 0) + (width <= 1 ? address[0] : 0);
    endfunction

    // Bits of the word that an access concerns; words of 18 bits are written by halves.
    function [17:0] reach(input [3:0] address, input integer width, input write);
        if (width >= 18)
            reach = write ? {{9{address[1]}}, {9{address[0]}}} : 18'h3ffff;
        else
            reach = ((18'd1 << width) - 18'd1) << lowest(address, width);
    endfunction

    wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [17:0] data_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] data_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire clock_a = CLKAMUX == "INV" ? ~CLKA : CLKA, clock_b = CLKBMUX == "INV" ? ~CLKB : CLKB;
    wire halt_a = RESETMODE == "SYNC" && RSTA, halt_b = RESETMODE == "SYNC" && RSTB;
    wire write_a = CEA && WEA && !halt_a, write_b = CEB && WEB && !halt_b && !PAIR;

    // What each port writes at its edge: to the word of even number, or its only one, and with 36 bits to the next.
    wire [9:0] even_a = DATA_WIDTH_A == 36 ? {address_a[13:5], 1'b0} : address_a[13:4];
    wire [17:0] mask_a = write_a ? reach(address_a[3:0], DATA_WIDTH_A, 1'b1) : 18'd0;
    wire [17:0] next_mask_a = write_a && DATA_WIDTH_A == 36 ? {{9{address_a[3]}}, {9{address_a[2]}}} : 18'd0;
    wire [17:0] mask_b = write_b ? reach(address_b[3:0], DATA_WIDTH_B, 1'b1) : 18'd0;
    wire [17:0] value_a = data_a << (DATA_WIDTH_A >= 18 ? 0 : lowest(address_a[3:0], DATA_WIDTH_A));
    wire [17:0] value_b = data_b << (DATA_WIDTH_B >= 18 ? 0 : lowest(address_b[3:0], DATA_WIDTH_B));

    integer bit_a, bit_b;
    always @(posedge clock_a)
        for (bit_a = 0; bit_a < 18; bit_a = bit_a + 1) begin
            if (mask_a[bit_a]) words[even_a][bit_a] <= value_a[bit_a];
            if (next_mask_a[bit_a]) words[even_a | 10'd1][bit_a] <= data_b[bit_a];
        end
    always @(posedge clock_b)
        for (bit_b = 0; bit_b < 18; bit_b = bit_b + 1)
            if (mask_b[bit_b]) words[address_b[13:4]][bit_b] <= value_b[bit_b];

    // A word as a port sees it: X where the other port writes at the same edge.
    function [17:0] without(input [17:0] word, input [17:0] mask);
        without = (word & ~mask) | (mask & {18{1'bx}});
    endfunction

    function [17:0] seen_by_a(input [9:0] word);
        seen_by_a = without(words[word], clock_a === clock_b && word == address_b[13:4] ? mask_b : 18'd0);
    endfunction

    function [17:0] seen_by_b(input [9:0] word);
        seen_by_b = without(words[word], clock_a !== clock_b ? 18'd0
            : word == even_a ? mask_a : word == (even_a | 10'd1) ? next_mask_a : 18'd0);
    endfunction

    // Reads. A port that writes keeps its output, or gives the new or the old bits.
    reg [17:0] out_a = 0, out_b = 0, upper = 0;
    wire [17:0] all_a = reach(address_a[3:0], DATA_WIDTH_A, 1'b0), all_b = reach(address_b[3:0], DATA_WIDTH_B, 1'b0);
    wire clear_a = RESETMODE == "ASYNC" && RSTA, clear_b = RESETMODE == "ASYNC" && RSTB;

    always @(posedge clock_a, posedge clear_a)
        if (clear_a || RSTA) out_a <= 0;
        else if (CEA && !(WEA && WRITEMODE_A == "NORMAL"))
            out_a <= (((WEA && WRITEMODE_A == "WRITETHROUGH" ? value_a & mask_a : 18'd0)
                | (seen_by_a(even_a) & ~(WEA && WRITEMODE_A == "WRITETHROUGH" ? mask_a : 18'd0))) & all_a)
                >> (DATA_WIDTH_A >= 18 ? 0 : lowest(address_a[3:0], DATA_WIDTH_A));

    always @(posedge clock_b, posedge clear_b)
        if (clear_b || RSTB) begin
            out_b <= 0;
            upper <= 0;
        end else if (CEB && !(write_b && WRITEMODE_B == "NORMAL")) begin
            if (DATA_WIDTH_B == 36) begin
                out_b <= seen_by_b({address_b[13:5], 1'b0});
                upper <= seen_by_b({address_b[13:5], 1'b1});
            end else
                out_b <= (((write_b && WRITEMODE_B == "WRITETHROUGH" ? value_b & mask_b : 18'd0)
                    | (seen_by_b(address_b[13:4]) & ~(write_b && WRITEMODE_B == "WRITETHROUGH" ? mask_b : 18'd0)))
                    & all_b) >> (DATA_WIDTH_B >= 18 ? 0 : lowest(address_b[3:0], DATA_WIDTH_B));
        end

    // 36 bits leave on both ports' pins, the lower half on those of A.
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0}
        = DATA_WIDTH_B == 36 ? out_b : out_a;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0}
        = DATA_WIDTH_B == 36 ? upper : out_b;
endmodule
