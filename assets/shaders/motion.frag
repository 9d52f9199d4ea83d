#version 330 core
// Block matching: the displacement of each cell between two frames, as the shift for which a patch half-way back in the
// previous frame best matches the patch half-way forward in the new one. A small cost per distance keeps bare walls
// still.

uniform sampler2D frame;
uniform sampler2D previous;
uniform vec2 cell;             // size of one texel of the result, as a fraction of the frame

in vec2 uv;
out vec2 moved;

const int REACH_X = 10;        // a held turn moves a frame of 64 texels sideways by 7 of them per tick
const int REACH_Y = 3;
const int PATCH_X = 6;         // more than half the reach, so that a patch covers both where an object was and is
const int PATCH_Y = 4;
const float COST_PER_CELL = 0.01;   // in color range, summed over the patch

void main() {
    float least = 1e9;
    moved = vec2(0.0);
    for (int y = -REACH_Y; y <= REACH_Y; y++) {
        for (int x = -REACH_X; x <= REACH_X; x++) {
            vec2 shift = vec2(x, y) * cell;
            float cost = COST_PER_CELL * length(vec2(x, y));
            for (int j = -PATCH_Y; j <= PATCH_Y; j += 2) {
                for (int i = -PATCH_X; i <= PATCH_X; i += 2) {
                    vec2 at = uv + vec2(i, j) * cell;
                    vec3 apart = texture(frame, at + shift * 0.5).rgb - texture(previous, at - shift * 0.5).rgb;
                    cost += dot(abs(apart), vec3(1.0 / 3.0));
                }
            }
            if (cost < least) {
                least = cost;
                moved = shift;
            }
        }
    }
}
