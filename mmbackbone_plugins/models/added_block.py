"""What blocks in a pre-trained backbone have in common."""

from mmengine.model import BaseModule


class AddedBlock(BaseModule):
    """A block that starts where ``reset_parameters`` puts it, whatever the backbone around does."""

    is_added_block = True  # regularisers leave it: it has no pre-trained weights

    def reset_parameters(self) -> None:
        raise NotImplementedError

    def init_weights(self) -> None:
        """Undoes what the ``init_cfg`` of a backbone around the block did to its layers."""
        if not self.is_init:
            self.reset_parameters()
        super().init_weights()
